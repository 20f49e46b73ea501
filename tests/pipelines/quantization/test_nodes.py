import copy
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from pydantic import ValidationError

from ptq_pipeline.calibration.draws import draw_set
from ptq_pipeline.calibration.parameters import DrawPlan
from ptq_pipeline.calibration.sets import CalibrationSet, array_sha256
from ptq_pipeline.calibration.strategies import parse_strategy
from ptq_pipeline.calibration.strategy import Pool
from ptq_pipeline.core.answers import every_answer
from ptq_pipeline.core.canonical import file_bytes
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.group_ids import GroupDefinitions
from ptq_pipeline.core.grouping import build_groups
from ptq_pipeline.core.outcomes import Outcomes
from ptq_pipeline.core.tally import tally
from ptq_pipeline.images.audit_data import AuditData
from ptq_pipeline.images.source import content_hashes
from ptq_pipeline.judgement.building import AuditSetting, build_verdict
from ptq_pipeline.judgement.policy import Policy
from ptq_pipeline.pipelines.quantization import nodes
from ptq_pipeline.ptq import method_from_json
from ptq_pipeline.runtimes import base
from ptq_pipeline.stress.shifts import StressParameters
from ptq_pipeline.trials.audit import Audit
from ptq_pipeline.trials.execution import TrialRunner
from ptq_pipeline.trials.recipe import Recipe
from ptq_pipeline.trials.trial import TrialStore

CLASSES = ["a", "b", "c"]
CLEAN = StressParameters({"clean": {}})
SHIFTS = StressParameters({"clean": {}, "noise": {"kind": "gaussian_noise", "sigma": 0.1}})
PARAMETERS = Recipe(
    method={"weight_bits": 8, "activation_bits": 8}, runtime={"name": "openvino", "threads": 1}
)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (80, 1, 12, 12), dtype=np.uint8)


@pytest.fixture(scope="module")
def samples(images):
    return pd.DataFrame(
        {
            "sample_id": range(80),
            "content_hash": content_hashes(images),
            "label": np.arange(80) % 3,
            "split": ["audit", "pool", "selection", "reference"] * 20,
        }
    )


@pytest.fixture(scope="module")
def sets(samples, images):
    pool = Pool.from_samples(samples, GroupDefinitions(classes=tuple(CLASSES), segments={}))
    plan = DrawPlan(parse_strategy("random"), 8, 0)
    drawn = [draw_set(pool, images, plan, draw) for draw in range(4)]
    return {calibration_set.set_id: calibration_set for calibration_set in drawn}


@pytest.fixture(scope="module")
def index(sets):
    return pd.DataFrame(
        {
            "set_id": list(sets),
            "strategy": ["random", "random", "noisy", "random"],
            "role": ["evidence", "evidence", "comparison", "evidence"],
            "draw": [0, 1, 0, 2],
            "valid": [True, False, False, True],
        }
    )


@pytest.fixture(scope="module")
def audit(samples, images, random_model, tmp_path_factory):
    data, store = AuditData(samples, images), TrialStore(tmp_path_factory.mktemp("trials"))
    return Audit(data, nodes.stress_images(data, SHIFTS), random_model, store, SHIFTS, PARAMETERS)


@pytest.fixture(scope="module")
def results(audit, sets, index):
    return nodes.run_trials(audit, sets, index)


@pytest.fixture
def fresh(audit, tmp_path):
    """The same audit with an empty store."""
    return replace(audit, store=TrialStore(tmp_path))


def test_stressed_images_are_those_of_the_evaluated_samples(images, audit):
    stressed = audit.stressed
    assert list(stressed) == ["noise"]
    assert stressed["noise"].shape == (40, 1, 12, 12)
    clean = images[::2].astype(int)
    assert 15 < (stressed["noise"] - clean).std() < 30


def test_invalid_sets_of_the_recipe_are_not_quantized_and_comparisons_are(results, index):
    trials = results[0]
    assert trials["set_id"].tolist() == index["set_id"][[0, 2, 3]].tolist()
    assert set(trials["status"]) == {"done"}
    spec = json.loads(trials["spec"][0])
    assert spec["method"]["weight_bits"] == 8
    assert list(spec["shifts"]) == ["clean", "noise"]


def test_comparisons_never_see_the_audit_images(results, samples):
    trials, predictions, float_predictions = results
    split = samples.set_index("sample_id")["split"]
    answers = every_answer(predictions, float_predictions)
    seen = answers.assign(split=answers["sample_id"].map(split))
    by_trial = seen.groupby("trial_id", observed=True)["split"].agg(set)
    roles = trials.set_index("trial_id")["role"]
    assert all(by_trial[roles.index[roles == "comparison"]] == {"selection"})
    assert all(by_trial[roles.index[roles == "evidence"]] == {"selection", "audit"})
    assert set(float_predictions["sample_id"]) == set(
        split.index[split.isin(["selection", "audit"])]
    )


def test_float_predictions_are_those_of_the_float_model(results, random_model, images):
    clean = results[2].query("shift == 'clean'").sort_values("sample_id")
    with torch.inference_mode():
        logits = random_model.module(torch.from_numpy(random_model.preprocessing(images[::2])))
    assert clean["predicted"].tolist() == logits.argmax(1).tolist()


def test_parity_compares_the_first_draw_per_class(results, audit, sets):
    table = nodes.measure_parity(audit, sets, *results)
    assert table["class"].tolist() == CLASSES
    assert table["n"].sum() == 20
    assert set(table["trial_id"]) == {results[0]["trial_id"][0]}
    assert (table["agreement"] * table["n"]).sum() >= 18


def test_two_machines_of_equal_answers_give_one_verdict(fresh, sets, index, samples, monkeypatch):
    levels = ("average", "class", "segment", "intersection")
    limits = dict.fromkeys(levels, {"points": 50.0})
    policy = Policy.model_validate({"limits": limits, "draws": 2, "p0": 0.9})
    groups, texts, kept = build_groups(samples, CLASSES, {}), [], []
    for flags in (["amx_int8", "avx2"], ["avx2"]):
        monkeypatch.setattr(base, "cpu_flags", lambda flags=flags: flags)
        trials, predictions, reference = nodes.run_trials(fresh, sets, index)
        kept.append(set(fresh.store.root.rglob("??/*.safetensors")))
        scores = tally(Outcomes.pair(predictions, reference, groups)).merge(trials, on="trial_id")
        setting = AuditSetting(groups, predictions, reference)
        verdict, table = build_verdict(scores, trials, index, policy, setting)
        texts.append((file_bytes(verdict.to_json()), table.to_csv()))
    assert verdict.candidate.trial_id in set(trials["trial_id"])
    assert texts[0] == texts[1]
    # No machine took the answers of the other.
    assert len(kept[1]) == 2 * len(kept[0])


def test_no_parity_draw_gives_an_empty_table(results, audit, sets):
    none = replace(audit, recipe=PARAMETERS.model_copy(update={"parity_draws": 0}))
    assert nodes.measure_parity(none, sets, *results).empty


def test_the_table_of_trials_names_fallbacks(fresh, sets, index, results, caplog):
    assert not results[0]["notes"].any()
    method = {"name": "adaround", "iterations": 1, "rounding_lr": 50.0, "batch_size": 8}
    recipe = Recipe(method=method, runtime={"name": "openvino", "threads": 1})
    caplog.set_level("INFO")
    trials, _, _ = nodes.run_trials(replace(fresh, recipe=recipe), sets, index.head(1))
    assert "nearest rounding kept" in trials["notes"].iloc[0].splitlines()[0]
    assert "1 of 1 trials took a fallback" in caplog.text


def test_when_every_trial_fails_the_first_reason_is_given(fresh, sets, index):
    pixels = np.zeros((0, 1, 12, 12), np.uint8)
    empty = {"size": 0, "sample_ids": (), "content_hashes": (), "shape": pixels.shape}
    manifest = next(iter(sets.values())).manifest.model_copy(
        update=empty | {"array_sha256": array_sha256(pixels)}
    )
    broken = dict.fromkeys(index["set_id"], CalibrationSet(manifest, pixels))
    index = index.assign(role="comparison")
    with pytest.raises(InputError, match="every trial failed, the first one because"):
        nodes.run_trials(fresh, broken, index)


def test_sets_that_are_too_small_for_the_method_are_refused_before_the_first_trial(
    fresh, sets, index, tmp_path
):
    learned = PARAMETERS.model_copy(
        update={"method": method_from_json({"name": "qdrop_cpu", "batch_size": 500})}
    )
    with pytest.raises(InputError, match="has 8 images and method qdrop_cpu needs 500; raise"):
        nodes.run_trials(replace(fresh, recipe=learned), sets, index)
    assert not list(tmp_path.rglob("*.safetensors"))


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ({"weight_bits": 1}, "weight_bits"),
        ({"activation_range": "largest"}, "unknown name 'largest'"),
        ({"bits": 8}, "unknown key 'bits'"),
    ],
)
def test_a_bad_method_is_refused_with_the_parameters(method, message):
    with pytest.raises(ValidationError, match=message):
        Recipe(method=method, runtime={"name": "openvino"})


@pytest.mark.parametrize(
    "runtime",
    [{"name": "onnx"}, {"name": "openvino", "device": "gpu"}, {"name": "simulated", "threads": 2}],
)
def test_a_bad_runtime_is_refused(runtime):
    with pytest.raises(ValidationError):
        Recipe(method={}, runtime=runtime)


@pytest.mark.parametrize(
    ("shifts", "message"),
    [({"gaussian_noise": {"sigma": 0.1}}, "'clean' is missing"), ({"clean": {}, "fog": {}}, "fog")],
)
def test_bad_shifts_are_refused(shifts, message):
    with pytest.raises(ValidationError, match=message):
        StressParameters(shifts)


def test_answers_of_other_shifted_pixels_are_never_taken_for_these(fresh, sets, index, tmp_path):
    poisoned = {name: np.zeros_like(array) for name, array in fresh.stressed.items()}
    wrong, *_ = nodes.run_trials(replace(fresh, stressed=poisoned), sets, index)
    trials, predictions, reference = nodes.run_trials(fresh, sets, index)
    assert not set(trials["trial_id"]) & set(wrong["trial_id"])
    empty = replace(fresh, store=TrialStore(tmp_path / "fresh"))
    again = nodes.run_trials(empty, sets, index)
    pd.testing.assert_frame_equal(reference, again[2])
    pd.testing.assert_frame_equal(predictions, again[1])


def test_clean_pixels_that_are_not_those_of_the_table_are_an_error(
    samples, images, fresh, sets, index, tmp_path
):
    place = tmp_path / "images.npy"
    np.save(place, images)
    poisoned = np.load(place, mmap_mode="r+")
    poisoned[8] = 0
    with pytest.raises(InputError, match="pixels of sample 8 in .*images.npy.* restore the file"):
        nodes.run_trials(replace(fresh, data=AuditData(samples, poisoned)), sets, index)


def test_calibration_pixels_that_are_not_those_of_the_manifest_are_an_error(fresh, sets, index):
    first = next(iter(sets))
    pixels = np.asarray(sets[first].images) ^ np.uint8(1)
    poisoned = {**sets, first: CalibrationSet(sets[first].manifest, pixels)}
    with pytest.raises(InputError, match=f"pixels of calibration set {first} are not those"):
        nodes.run_trials(fresh, poisoned, index)


def test_a_file_that_is_written_to_during_a_trial_leaves_nothing_in_the_store(
    audit, sets, index, tmp_path, monkeypatch
):
    place = tmp_path / "noise.npy"
    np.save(place, audit.stressed["noise"])
    stressed = {"noise": np.load(place, mmap_mode="r")}
    store = TrialStore(tmp_path / "store")
    ended = TrialRunner._keep

    def overwritten(runner, outcome):
        np.load(place, mmap_mode="r+")[:] = 0
        return ended(runner, outcome)

    monkeypatch.setattr(TrialRunner, "_keep", overwritten)
    with pytest.raises(InputError, match=r"noise.npy' was written to while trials read it"):
        nodes.run_trials(replace(audit, stressed=stressed, store=store), sets, index)
    assert not list(store.root.rglob("*.safetensors"))


class Branching(torch.nn.Module):
    """A branch on values, which a conversion fixes to what an image of zeros takes."""

    def __init__(self) -> None:
        super().__init__()
        self.head = torch.nn.Linear(144, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = self.head(x.flatten(1))
        return logits if x.max() < 1.0 else logits.flip(1)


def test_a_float_model_that_the_runtime_converts_to_another_one_is_refused_before_trials(
    fresh, random_model, sets, index, tmp_path
):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = Branching().eval().requires_grad_(False)
    model = replace(random_model, module=module, fingerprint="branching")
    with pytest.raises(InputError, match=r"'openvino' not as in torch.* answers differ, .* class"):
        nodes.run_trials(replace(fresh, model=model, shifts=CLEAN), sets, index)
    # Only the float model's own answers were computed.
    assert len(list(tmp_path.rglob("*.safetensors"))) == 1


def test_answers_of_another_model_in_the_store_are_refused(fresh, random_model, sets, index):
    clean = replace(fresh, shifts=CLEAN)
    nodes.run_trials(clean, sets, index)
    module = copy.deepcopy(random_model.module)
    with torch.no_grad():
        next(m for m in module.modules() if isinstance(m, torch.nn.Linear)).weight.neg_()
    edited = replace(random_model, module=module)
    with pytest.raises(InputError, match="empty the trial store"):
        nodes.run_trials(replace(clean, model=edited), sets, index)


def test_pooling_with_ceil_mode_is_held_against_torch(fresh, random_model):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = torch.nn.Sequential(
            torch.nn.Conv2d(1, 4, 3),
            torch.nn.AvgPool2d(3, 2, padding=1, ceil_mode=True),
            torch.nn.Flatten(),
            torch.nn.Linear(4 * 36, 3),
        )
    model = replace(random_model, module=module.eval().requires_grad_(False), fingerprint="ceil")
    for name in ("openvino", "onnxruntime", "simulated"):
        recipe = Recipe(method={}, runtime={"name": name})
        audit = replace(fresh, model=model, shifts=CLEAN, recipe=recipe)
        if name == "openvino":
            with pytest.raises(InputError, match="ceil_mode"):
                audit.float_reference(audit.runner())
        else:
            audit.float_reference(audit.runner())
