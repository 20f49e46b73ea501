"""The exported files, executed on what was judged."""

import sys

import numpy as np
import pandas as pd
import pytest
import torch
from tests.verdicts import make_verdict

from ptq_pipeline.artifact import served_names
from ptq_pipeline.calibration.sets import CalibrationManifest, CalibrationSet, array_sha256
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.images.audit_data import AuditData
from ptq_pipeline.images.source import content_hashes
from ptq_pipeline.judgement.decision import ClassParity
from ptq_pipeline.judgement.verdict import Verdict
from ptq_pipeline.models import FloatModel, Preprocessing, resnet20
from ptq_pipeline.pipelines.promotion.execution import (
    _parity_reasons,
    execute_candidate,
)
from ptq_pipeline.pipelines.promotion.nodes import build_artifact
from ptq_pipeline.pipelines.promotion.speed import measure_candidate
from ptq_pipeline.ptq.export import metadata_of
from ptq_pipeline.stress.shifts import StressParameters
from ptq_pipeline.trials.audit import Audit
from ptq_pipeline.trials.recipe import Recipe
from ptq_pipeline.trials.trial import TrialStore

SHIFTS = StressParameters({"clean": {}})
N = 60
WAYS = {
    ("model.xml", "openvino", None),
    ("model.onnx", "onnxruntime", "all"),
    ("model.onnx", "onnxruntime", "none"),
    ("quantization.safetensors", "simulated", None),
}


@pytest.fixture(scope="module")
def model() -> FloatModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = resnet20(classes=3).eval().requires_grad_(False)
        torch.nn.init.normal_(module.classifier.bias)
    return FloatModel(module, Preprocessing((0.286,), (0.353,)), ("a", "b", "c"), "float")


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (N, 1, 28, 28)).astype(np.uint8)


@pytest.fixture(scope="module")
def samples(images: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "sample_id": np.arange(N),
            "content_hash": content_hashes(images),
            "split": ["pool"] * 20 + ["selection"] * 20 + ["audit"] * 20,
            "label": np.arange(N) % 2,
        }
    )


@pytest.fixture(scope="module")
def chosen(images: np.ndarray) -> CalibrationSet:
    pixels = images[:16]
    manifest = CalibrationManifest(
        strategy="random",
        options={},
        seed=0,
        draw=0,
        size=16,
        pool_size=20,
        augmentation={},
        sample_ids=tuple(range(16)),
        content_hashes=("ab",) * 16,
        array_sha256=array_sha256(pixels),
        shape=pixels.shape,
    )
    return CalibrationSet(manifest, pixels)


def assert_measured(audit: Audit, verdict: Verdict, files: dict[str, bytes]) -> None:
    """Size and speed are of these files, beside the float model's."""
    runtime, trial_id = audit.recipe.runtime, verdict.candidate.trial_id
    speed = measure_candidate(audit, verdict, files).to_json()
    assert speed["runtime"]["name"] == runtime.name and speed["runtime"]["cpu_flags"]
    batch_size = min(runtime.batch_size, N)
    assert (speed["trial_id"], speed["batch_size"]) == (trial_id, batch_size)
    for one in (speed["float"], speed["candidate"]):
        assert one["latency_ms"] > 0 and one["images_per_second"] > 0
    assert 0 < speed["candidate"]["bytes"] < speed["float"]["bytes"] / 2
    assert 2 <= speed["rounds"] <= 5
    for ratio in (speed["one_image"], speed["batches"]):
        assert 0 < ratio["low"] <= ratio["median"] <= ratio["high"]


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime", "simulated"])
@pytest.mark.parametrize("estimator", ["minmax", "mse"])
def test_the_files_are_the_model_that_was_judged(
    runtime: str, estimator: str, model, images, samples, chosen, tmp_path
) -> None:
    parameters = Recipe.model_validate(
        {
            "method": {"weight_bits": 4, "activation_range": estimator},
            "runtime": {"name": runtime} | ({} if runtime == "simulated" else {"threads": 1}),
        }
    )
    store = TrialStore(tmp_path)
    audit = Audit(AuditData(samples, images), {}, model, store, SHIFTS, parameters)
    runner, evaluation = audit.runner(), audit.evaluation
    outcome = runner.run(chosen.set_id, chosen.images, evaluation)
    trial_id = outcome.spec.trial_id
    verdict = make_verdict(trial_id=trial_id, set_id=chosen.set_id)
    facts = {"trial_id": trial_id}
    files = build_artifact(runner, chosen, facts)
    assert metadata_of(files["model.onnx"])["trial_id"] == trial_id
    ids = evaluation.samples["sample_id"]
    predictions = pd.DataFrame({"trial_id": trial_id, "shift": "clean", "sample_id": ids})
    predictions["predicted"] = outcome.predictions["clean"]
    predictions = predictions.reset_index(drop=True)

    floats = audit.float_reference(runner)

    def execute(predictions: pd.DataFrame, files: dict[str, bytes] = files) -> dict:
        sets = {chosen.set_id: chosen}
        return execute_candidate(audit, verdict, files, predictions, floats, sets).to_json()

    found = execute(predictions)
    assert found["result"] == "PASS" and found["reasons"] == []
    assert found["answers"] == {"clean": {"n": 40, "different": 0}}
    # Every file is executed, and in every way but the serving one.
    ways = {(each["file"], each["runtime"], each["optimization"]) for each in found["others"]}
    served = (*served_names(files, runtime)[:1], runtime)
    assert ways == {way for way in WAYS if (*way[:2], way[2] or "all") != (*served, "all")}
    assert all(each["ships"] and each["n"] == 20 for each in found["others"])
    assert found["withheld"] == []
    assert [row["class"] for row in found["parity"]] == ["a", "b", "c"]
    assert found["parity"][0]["agreement"] >= 0.9
    # A class without images is missing, never 0 or 1.
    assert found["parity"][2]["agreement"] is None
    if estimator == "minmax":  # how ranges are estimated changes neither size nor speed
        assert_measured(audit, verdict, files)
    # One answer that was never judged is enough.
    predictions.loc[3, "predicted"] = (predictions.loc[3, "predicted"] + 1) % 3
    found = execute(predictions)
    assert found["result"] == "FAIL"
    assert "answers 1 of 40 images under clean differently" in found["reasons"][0]["text"]
    with pytest.raises(InputError, match="has no model file"):
        execute(predictions, {})


def test_without_a_candidate_there_is_nothing_to_execute(model, images, samples, tmp_path) -> None:
    verdict = make_verdict("FAIL", None, None)
    parameters = Recipe.model_validate({"method": {}, "runtime": {"name": "openvino"}})
    data, store = AuditData(samples, images), TrialStore(tmp_path)
    audit = Audit(data, {}, model, store, SHIFTS, parameters)
    found = execute_candidate(audit, verdict, {}, pd.DataFrame(), pd.DataFrame(), {})
    assert found.result == "NONE"
    speed = measure_candidate(audit, verdict, {}).to_json()
    assert speed["float"] is speed["candidate"] is None


@pytest.fixture
def audited(model, images, samples, chosen, tmp_path):
    """A candidate of OpenVINO, and what executes it with changed files or answers."""
    parameters = Recipe.model_validate(
        {"method": {}, "runtime": {"name": "openvino", "threads": 1}}
    )
    store = TrialStore(tmp_path)
    audit = Audit(AuditData(samples, images), {}, model, store, SHIFTS, parameters)
    runner, evaluation = audit.runner(), audit.evaluation
    outcome = runner.run(chosen.set_id, chosen.images, evaluation)
    trial_id = outcome.spec.trial_id
    files = build_artifact(runner, chosen, {"trial_id": trial_id})
    predictions = pd.DataFrame(
        {
            "trial_id": trial_id,
            "shift": "clean",
            "sample_id": evaluation.samples["sample_id"].to_numpy(),
            "predicted": outcome.predictions["clean"],
        }
    )
    verdict = make_verdict(trial_id=trial_id, set_id=chosen.set_id)

    floats, sets = audit.float_reference(runner), {chosen.set_id: chosen}

    def execute(files: dict[str, bytes]) -> dict:
        return execute_candidate(audit, verdict, files, predictions, floats, sets).to_json()

    return files, execute


def test_pixels_that_change_while_they_are_executed_keep_no_result(
    model, images, samples, chosen, tmp_path, monkeypatch
):
    np.save(tmp_path / "images.npy", images)
    parameters = Recipe.model_validate({"method": {}, "runtime": {"name": "simulated"}})
    data = AuditData(samples, np.load(tmp_path / "images.npy", mmap_mode="r"))
    audit = Audit(data, {}, model, TrialStore(tmp_path / "trials"), SHIFTS, parameters)
    outcome = audit.runner().run(chosen.set_id, chosen.images, audit.evaluation)
    trial_id = outcome.spec.trial_id
    files = build_artifact(audit.runner(), chosen, {"trial_id": trial_id})
    verdict = make_verdict(trial_id=trial_id, set_id=chosen.set_id)
    predict = Audit.predict

    def predict_and_write(*arguments):
        found = predict(*arguments)
        np.load(tmp_path / "images.npy", mmap_mode="r+")[30] ^= 255
        return found

    monkeypatch.setattr(Audit, "predict", predict_and_write)
    with pytest.raises(InputError, match="images.npy' was written to while"):
        nothing = pd.DataFrame()
        execute_candidate(audit, verdict, files, nothing, nothing, {chosen.set_id: chosen})


def other_bias(content: bytes) -> bytes:
    """Return an ONNX file whose last layer always prefers the last class."""
    import onnx

    model = onnx.load_from_string(content)
    for entry in model.graph.initializer:
        if entry.name == "classifier.bias/codes":
            codes = onnx.numpy_helper.to_array(entry).copy()
            codes[-1] = 2**30
            entry.CopyFrom(onnx.numpy_helper.from_array(codes, entry.name))
    return model.SerializeToString()


def test_a_file_that_answers_otherwise_is_withheld_and_the_served_one_ships(audited):
    files, execute = audited
    found = execute({**files, "model.onnx": other_bias(files["model.onnx"])})
    assert found["result"] == "PASS"
    assert found["withheld"] == ["model.onnx"]
    wrong = [each for each in found["others"] if not each["ships"]]
    assert {each["optimization"] for each in wrong} == {"all", "none"}
    assert "answers differ" in wrong[0]["difference"] and "in class" in wrong[0]["difference"]


def test_a_file_that_cannot_be_executed_here_is_withheld(audited, monkeypatch):
    files, execute = audited
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    found = execute(files)
    assert found["result"] == "PASS"
    assert found["withheld"] == ["model.onnx"]
    assert "'onnxruntime' is not installed" in found["others"][0]["difference"]


def test_integers_that_are_not_those_of_the_model_refuse_the_candidate(audited):
    from safetensors.numpy import load, save

    files, execute = audited
    arrays = load(files["quantization.safetensors"])
    arrays["classifier.bias:override"] = np.array([0.0, 0.0, 1e6], np.float32)
    found = execute({**files, "quantization.safetensors": save(arrays)})
    assert found["result"] == "FAIL" and found["withheld"] == []
    assert "quantization.safetensors answers" in found["reasons"][0]["text"]


def test_kernels_that_do_not_compute_what_was_quantized_are_a_reason():
    rows = [
        {"class": "a", "n": 100, "agreement": 0.99, "drop_difference": 0.0},
        {"class": "b", "n": 100, "agreement": 0.1, "drop_difference": 0.9},
        {"class": "c", "n": 0, "agreement": None, "drop_difference": None},
    ]
    broken = tuple(ClassParity.model_validate(row) for row in rows)
    (reason,) = _parity_reasons(broken, "model.onnx")
    assert reason.rule == "candidate.parity"
    assert "91 of 200 selection images" in reason.text
    assert "90 of 100 in class b" in reason.text
    whole = (broken[0], broken[1].model_copy(update={"agreement": 0.97}))
    assert _parity_reasons(whole, "model.onnx") == []
