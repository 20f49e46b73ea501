import dataclasses
import io

import numpy as np
import pandas as pd
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given
from hypothesis.extra.numpy import arrays
from hypothesis.strategies import integers

from ptq_pipeline.core.answers import every_answer
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.objects import ObjectFolder
from ptq_pipeline.ptq import MethodSpec
from ptq_pipeline.trials.changed import ChangedAnswers
from ptq_pipeline.trials.evaluation import Evaluation, evaluation_hash
from ptq_pipeline.trials.trial import TrialOutcome, TrialSpec, TrialStore, predictions_table

SPEC = TrialSpec(
    model="m",
    method=MethodSpec(weight_bits=8),
    calibration_set="c",
    evaluation="e",
    shifts={"clean": {}, "noise": {"sigma": 0.1}},
    runtime={"name": "openvino"},
    engine="1",
)
# The last class of a model with 70,000 of them.
ANSWERS = np.array([0, 1, 2, 40_000, 69_999], np.int32)
PREDICTIONS = {"clean": ANSWERS, "noise": np.zeros(5, np.int32)}


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(TrialSpec)])
def test_every_field_is_part_of_the_identity(field):
    value = {"clean": {}} if field == "shifts" else {"other": 1}
    if field in {"model", "calibration_set", "evaluation", "engine"}:
        value = "other"
    if field == "method":
        value = MethodSpec(weight_bits=4)
    assert dataclasses.replace(SPEC, **{field: value}).trial_id != SPEC.trial_id


def test_a_trial_is_called_alike_on_every_machine_and_its_results_are_kept_apart(tmp_path):
    here, there = (
        dataclasses.replace(SPEC, runtime={"name": "openvino", "version": "1", **machine})
        for machine in (
            {"cpu_flags": ["amx_int8"], "torch_threads": 1, "capabilities": ["INT8", "BF16"]},
            {"cpu_flags": ["avx2"], "torch_threads": 8, "capabilities": ["INT8"], "threads": 4},
        )
    )
    assert here.trial_id == there.trial_id != SPEC.trial_id
    other = dataclasses.replace(here, runtime={**here.runtime, "version": "2"})
    assert other.trial_id != here.trial_id
    store = TrialStore(tmp_path)
    store.put(here, PREDICTIONS)
    assert store.get(there) is None and store.path(there) != store.path(here)


def test_results_come_back(tmp_path):
    store = TrialStore(tmp_path / "trials")
    assert store.get(SPEC) is None
    store.put(SPEC, PREDICTIONS)
    stored = store.get(SPEC).predictions
    assert stored.keys() == PREDICTIONS.keys()
    for name, values in PREDICTIONS.items():
        np.testing.assert_array_equal(stored[name], values)
    assert [path.suffix for path in store.root.rglob("*") if path.is_file()] == [".safetensors"]


OF_FLOAT = dataclasses.replace(SPEC, method=None, calibration_set=None)


def answers_of_both(rng, changed=0.01, units=5000):
    """The float model's answers, and a quantized one's that differ in a few."""
    of_float = {name: rng.integers(0, 1000, units).astype(np.int32) for name in SPEC.shifts}
    quantized = {}
    for name, answers in of_float.items():
        other = rng.integers(0, 1000, units).astype(np.int32)
        quantized[name] = np.where(rng.random(units) < changed, other, answers)
    return of_float, quantized


def test_only_what_differs_from_the_float_model_is_kept_and_comes_back_bit_for_bit(tmp_path):
    of_float, quantized = answers_of_both(np.random.default_rng(0))
    store = TrialStore(tmp_path)
    store.put(OF_FLOAT, of_float)
    kept = store.put(SPEC, quantized, ("a note",))
    found = TrialStore(tmp_path).get(SPEC)
    for outcome in (kept, found):
        assert outcome.notes == ("a note",)
        assert list(outcome.predictions) == list(SPEC.shifts)
        for name, answers in quantized.items():
            assert outcome.predictions[name].dtype == np.int32
            np.testing.assert_array_equal(outcome.predictions[name], answers)
    dense = store.path(OF_FLOAT).stat().st_size
    assert store.path(SPEC).stat().st_size < 0.06 * dense


def test_the_table_of_predictions_holds_what_differs_and_gives_every_answer_back():
    samples = pd.DataFrame({"sample_id": [1, 3, 7]})
    whole, part = Evaluation(samples, {}, {}), Evaluation(samples[1:], {}, {})
    later = dataclasses.replace(SPEC, calibration_set="b", shifts={"noise": {}})
    of_float = TrialOutcome(OF_FLOAT, {name: ANSWERS[:3] for name in SPEC.shifts})
    other = ANSWERS[:3].copy()
    other[1] += 1
    done = [
        (TrialOutcome(SPEC, {name: other for name in SPEC.shifts}), whole),
        (TrialOutcome(later, {"noise": ANSWERS[1:3]}), part),
    ]
    floats = of_float.table(whole).drop(columns="trial_id")
    found = predictions_table(done, floats)
    assert found["sample_id"].map(list).tolist() == [[3], [3], []]
    assert found["answered"].map(list).tolist() == [[0, 3], [0, 3], [1, 3]]
    plain = pd.concat([outcome.table(evaluation) for outcome, evaluation in done])
    plain = plain.reset_index(drop=True).astype({"trial_id": "category", "shift": "category"})
    stored = pd.read_parquet(io.BytesIO(found.to_parquet()))
    assert every_answer(stored, floats).to_parquet() == plain.to_parquet()


def test_where_most_answers_differ_all_are_kept(tmp_path):
    of_float, quantized = answers_of_both(np.random.default_rng(0), changed=0.9)
    store = TrialStore(tmp_path)
    store.put(SPEC, quantized)
    alone = store.path(SPEC).read_bytes()
    store.put(OF_FLOAT, of_float)
    store.put(SPEC, quantized)
    # These are the bytes of earlier releases, which are read as ever.
    assert store.path(SPEC).read_bytes() == alone
    np.testing.assert_array_equal(store.get(SPEC).predictions["clean"], quantized["clean"])


def test_changes_without_the_very_answers_that_they_refer_to_count_as_absent(tmp_path, caplog):
    of_float, quantized = answers_of_both(np.random.default_rng(0))
    store = TrialStore(tmp_path)
    store.put(OF_FLOAT, of_float)
    store.put(SPEC, quantized)
    store.put(OF_FLOAT, {name: answers + 1 for name, answers in of_float.items()})
    assert TrialStore(tmp_path).get(SPEC) is None
    assert "does not match its spec" in caplog.text
    store.put(OF_FLOAT, {name: answers[:10] for name, answers in of_float.items()})
    assert TrialStore(tmp_path).get(SPEC) is None
    assert "are none of the float model's" in caplog.text
    store.path(OF_FLOAT).unlink()
    assert TrialStore(tmp_path).get(SPEC) is None
    assert "the float model's answers, which it refers to, are gone" in caplog.text


@pytest.mark.parametrize("position", [3, 60, 900, -1])
def test_damaged_changes_count_as_absent(tmp_path, position):
    of_float, quantized = answers_of_both(np.random.default_rng(0))
    store = TrialStore(tmp_path)
    store.put(OF_FLOAT, of_float)
    store.put(SPEC, quantized)
    content = bytearray(store.path(SPEC).read_bytes())
    content[position] ^= 1
    store.path(SPEC).write_bytes(content)
    assert store.get(SPEC) is None


@given(
    of_float=arrays(np.int32, 12, elements=integers(-1, 3)),
    quantized=arrays(np.int32, 12, elements=integers(-1, 3)),
)
def test_any_answers_come_back_from_their_changes(of_float, quantized):
    changed = ChangedAnswers.of({"a.at": quantized}, {"a.at": of_float})
    few = np.count_nonzero(of_float != quantized) <= 4
    assert (changed is not None) == few
    if few:
        again = ChangedAnswers.read(changed.arrays(), {"a.at": of_float}, ["a.at"])
        np.testing.assert_array_equal(again["a.at"], quantized)


def test_two_writers_elsewhere_agree_whatever_form_their_answers_have(remote):
    of_float, quantized = answers_of_both(np.random.default_rng(0))
    remote.put(SPEC, quantized)
    remote.put(OF_FLOAT, of_float)
    remote.put(SPEC, quantized)
    np.testing.assert_array_equal(remote.get(SPEC).predictions["noise"], quantized["noise"])


@pytest.fixture
def remote(tmp_path):
    yield TrialStore(tmp_path, ObjectFolder(f"memory://{tmp_path.name}"))
    MemoryFileSystem.store.clear()


def test_a_store_elsewhere_holds_the_same_bytes_and_nothing_here(tmp_path, remote):
    assert remote.get(SPEC) is None
    remote.put(SPEC, PREDICTIONS, ("a note",))
    remote.put(SPEC, PREDICTIONS, ("a note",))
    assert list(tmp_path.iterdir()) == []
    stored = remote.get(SPEC)
    assert stored.notes == ("a note",)
    np.testing.assert_array_equal(stored.predictions["clean"], ANSWERS)
    (entry,) = remote.objects.names()
    local = TrialStore(tmp_path)
    local.put(SPEC, PREDICTIONS, ("a note",))
    assert remote.objects.read(entry.name) == local.path(SPEC).read_bytes()


def test_of_two_writers_elsewhere_who_disagree_the_second_is_told(remote, caplog):
    remote.put(SPEC, PREDICTIONS)
    with pytest.raises(InputError, match="holds other answers of the same trial: what decides"):
        remote.put(SPEC, PREDICTIONS | {"clean": ANSWERS + 1})
    np.testing.assert_array_equal(remote.get(SPEC).predictions["clean"], ANSWERS)
    (entry,) = remote.objects.names()
    remote.objects.replace(entry.name, remote.objects.read(entry.name)[:-1])
    assert remote.get(SPEC) is None
    assert f"{remote.objects.url}/{entry.name}' is damaged" in caplog.text
    # What is damaged is nobody's answer.
    remote.put(SPEC, PREDICTIONS)
    np.testing.assert_array_equal(remote.get(SPEC).predictions["clean"], ANSWERS)


def test_notes_of_the_quantization_come_back(tmp_path):
    store = TrialStore(tmp_path)
    store.put(SPEC, PREDICTIONS, ("layer 'a' runs more than once",))
    notes = store.get(SPEC).notes
    assert notes == ("layer 'a' runs more than once",)
    # A trial without notes has the bytes that it had before there were any.
    store.put(SPEC, PREDICTIONS)
    assert b"notes" not in store.path(SPEC).read_bytes()
    assert store.get(SPEC).notes == ()


def test_same_result_same_bytes(tmp_path):
    contents = []
    for name in "ab":
        store = TrialStore(tmp_path / name)
        store.put(SPEC, PREDICTIONS)
        contents.append(store.path(SPEC).read_bytes())
    assert contents[0] == contents[1]


@pytest.mark.parametrize("position", [3, 60, 300, -1])
def test_a_damaged_result_is_reported_and_counts_as_absent(tmp_path, caplog, position):
    store = TrialStore(tmp_path)
    store.put(SPEC, PREDICTIONS)
    content = bytearray(store.path(SPEC).read_bytes())
    content[position] ^= 1
    store.path(SPEC).write_bytes(content)
    assert store.get(SPEC) is None
    assert str(store.path(SPEC)) in caplog.text


def test_a_result_of_an_older_schema_is_reported_and_computed_again(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("ptq_pipeline.trials.trial.SCHEMA_VERSION", 0)
    TrialStore(tmp_path).put(SPEC, PREDICTIONS)
    monkeypatch.undo()
    assert TrialStore(tmp_path).get(SPEC) is None
    assert "does not match its spec and is computed again" in caplog.text


def test_a_truncated_result_counts_as_absent(tmp_path):
    store = TrialStore(tmp_path)
    store.put(SPEC, PREDICTIONS)
    content = store.path(SPEC).read_bytes()
    for length in range(0, len(content), 37):
        store.path(SPEC).write_bytes(content[:length])
        assert store.get(SPEC) is None


def test_evaluation_hash_depends_on_samples_order_and_pixels():
    hashes = ["00" * 32, "11" * 32]
    first = evaluation_hash(np.array([1, 2]), hashes)
    assert first == evaluation_hash(np.array([1, 2], np.int32), hashes)
    assert first != evaluation_hash(np.array([2, 1]), hashes)
    assert first != evaluation_hash(np.array([1, 2]), hashes[::-1])
