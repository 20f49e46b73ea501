import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import load
from tests.verdicts import POLICY, make_cell, make_reason, make_verdict

from ptq_pipeline.calibration.sets import CalibrationManifest, CalibrationSet, array_sha256
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.datasets.directory import CandidateDirectory
from ptq_pipeline.images.audit_data import AuditData
from ptq_pipeline.judgement.baseline import Baseline
from ptq_pipeline.judgement.champion import Comparison
from ptq_pipeline.judgement.decision import Decision, Execution
from ptq_pipeline.judgement.policy import Policy
from ptq_pipeline.judgement.verdict import Verdict
from ptq_pipeline.models import FloatModel, Preprocessing, resnet20
from ptq_pipeline.pipelines.promotion import create_pipeline, nodes
from ptq_pipeline.pipelines.promotion.nodes import decide
from ptq_pipeline.pipelines.promotion.parameters import PromotionParameters
from ptq_pipeline.ptq import ENGINE_VERSION, MethodSpec, QuantizationParameters, prepare
from ptq_pipeline.runtimes import OpenvinoRuntime, SimulatedRuntime
from ptq_pipeline.stress.shifts import StressParameters
from ptq_pipeline.trials.audit import Audit
from ptq_pipeline.trials.execution import TrialRunner
from ptq_pipeline.trials.recipe import Recipe
from ptq_pipeline.trials.trial import TrialSpec, TrialStore, trial_id_of
from ptq_pipeline.trials.workload import Workload

METHOD = MethodSpec(weight_bits=8, activation_bits=4)
PARAMETERS = PromotionParameters(environment="base")
NAMES = {
    "baseline.json",
    "calibration.json",
    "model.bin",
    "model.onnx",
    "model.xml",
    "quantization.safetensors",
    "trial.json",
    "verdict.json",
}


def export_candidate(verdict, trials, sets, model, baseline) -> dict[str, bytes]:
    """Export with images and parameters of the audit that make no difference here."""
    samples = pd.DataFrame({"sample_id": np.arange(4), "split": "pool"})
    data = AuditData(samples, np.zeros((4, 1, 28, 28), np.uint8))
    shifts = StressParameters({"clean": {}})
    runtime = {"name": "openvino", "threads": 1}
    recipe = Recipe.model_validate({"method": METHOD, "runtime": runtime})
    with TemporaryDirectory() as folder:
        audit = Audit(data, {}, model, TrialStore(Path(folder)), shifts, recipe)
        return nodes.export_candidate(audit, verdict, trials, sets, baseline)


@pytest.fixture(scope="module")
def model() -> FloatModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = resnet20().eval().requires_grad_(False)
    return FloatModel(module, Preprocessing((0.286,), (0.353,)), tuple("abcdefghij"), "float")


@pytest.fixture(scope="module")
def calibration_set() -> CalibrationSet:
    images = np.random.default_rng(0).integers(0, 256, (24, 1, 28, 28)).astype(np.uint8)
    manifest = CalibrationManifest(
        strategy="random",
        options={},
        seed=0,
        draw=0,
        size=24,
        pool_size=100,
        augmentation={},
        sample_ids=tuple(range(24)),
        content_hashes=("ab",) * 24,
        array_sha256=array_sha256(images),
        shape=images.shape,
    )
    return CalibrationSet(manifest, images)


@pytest.fixture(scope="module")
def spec(model: FloatModel, calibration_set: CalibrationSet) -> TrialSpec:
    return TrialSpec(
        model=model.fingerprint,
        method=METHOD,
        calibration_set=calibration_set.set_id,
        evaluation="e",
        shifts={"clean": {}},
        runtime={"name": "openvino", "cpu_flags": ["of another machine"]},
        engine=ENGINE_VERSION,
    )


CELL = make_cell("a", n=400, flips=8, quantized_accuracy=0.9, accuracy_lower=0.87, drop=0.01)
EXECUTED = Execution(result="PASS")
NOTHING_SERVES = Comparison(result="NONE", champion=None)


def make_baseline(spec: TrialSpec | None) -> Baseline:
    if spec is None:
        return Baseline()
    return Baseline(trial_id=spec.trial_id, audit_hash="ef")


def make_trials(*specs: TrialSpec) -> pd.DataFrame:
    rows = [{"trial_id": s.trial_id, "spec": json.dumps(s.to_json())} for s in specs]
    return pd.DataFrame(rows)


def verdict_of(spec: TrialSpec | None, result: str = "PASS", **changes) -> Verdict:
    trial = (None, None) if spec is None else (spec.trial_id, spec.calibration_set)
    reasons = (make_reason("candidate.limit", "größer"),)
    cells = () if spec is None else (CELL,)
    return make_verdict(result, *trial, reasons, cells, **changes)


@pytest.fixture(scope="module")
def files(model: FloatModel, calibration_set: CalibrationSet, spec: TrialSpec) -> dict[str, bytes]:
    sets = {calibration_set.set_id: calibration_set}
    return export_candidate(verdict_of(spec), make_trials(spec), sets, model, make_baseline(spec))


def test_the_candidate_is_the_quantization_of_its_trial(
    files: dict[str, bytes],
    model: FloatModel,
    calibration_set: CalibrationSet,
    tmp_path: Path,
) -> None:
    store = TrialStore(tmp_path)
    workload = Workload(model, SimulatedRuntime(), (1, 28, 28), statistics_folder=store.statistics)
    runner = TrialRunner(workload, METHOD, store, {"clean": {}})
    expected = runner.quantize(calibration_set.set_id, calibration_set.images).to_arrays()
    exported = load(files["quantization.safetensors"])
    assert set(exported) == set(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(exported[name], array)
    codes = [name for name in exported if name.endswith(":codes")]
    assert codes
    assert all(exported[name].dtype == np.int8 for name in codes)


def test_the_exported_graph_answers_like_the_audited_model(
    files: dict[str, bytes],
    model: FloatModel,
    calibration_set: CalibrationSet,
    tmp_path: Path,
) -> None:
    for name in ("model.xml", "model.bin"):
        (tmp_path / name).write_bytes(files[name])
    inputs = model.preprocessing(calibration_set.images)
    parameters = QuantizationParameters.from_arrays(load(files["quantization.safetensors"]))
    runtime = OpenvinoRuntime(threads=1)
    audited = runtime.compile(prepare(model.module, torch.from_numpy(inputs[:2])), parameters)
    served = runtime.load(tmp_path / "model.xml")
    np.testing.assert_allclose(served(inputs), audited(inputs), rtol=1e-5, atol=1e-5)
    assert b'element_type="f16"' not in files["model.xml"]
    assert b"FakeQuantize" in files["model.xml"]


def test_equal_inputs_give_equal_bytes_whatever_machine_the_trial_ran_on(
    files: dict[str, bytes], model: FloatModel, calibration_set: CalibrationSet, spec: TrialSpec
) -> None:
    assert set(files) == NAMES
    sets = {calibration_set.set_id: calibration_set}
    there = {"name": "openvino", "cpu_flags": ["avx2"], "torch_threads": 8, "capabilities": []}
    other = replace(spec, runtime=there)
    assert other.stored_as != spec.stored_as
    assert (
        export_candidate(verdict_of(other), make_trials(other), sets, model, make_baseline(other))
        == files
    )


def test_lineage_stands_beside_the_model(
    files: dict[str, bytes], calibration_set: CalibrationSet, spec: TrialSpec
) -> None:
    calibration = json.loads(files["calibration.json"])
    assert calibration.pop("set_id") == calibration_set.set_id
    assert CalibrationManifest.read(calibration) == calibration_set.manifest
    trial = json.loads(files["trial.json"])
    assert trial_id_of(trial["spec"]) == trial["trial_id"] == spec.trial_id
    assert "cpu_flags" not in trial["spec"]["runtime"]
    assert json.loads(files["verdict.json"]) == verdict_of(spec).to_json()


COPIES = {"champion_comparison.json", "candidate_execution.json"}


def test_a_baseline_of_other_answers_is_refused(files: dict[str, bytes], spec: TrialSpec) -> None:
    comparison = NOTHING_SERVES.model_copy(update={"candidate_baseline": "0" * 64})
    with pytest.raises(InputError, match="does not hold the answers that were compared"):
        decide(verdict_of(spec), comparison, EXECUTED, files, PARAMETERS)


@pytest.mark.parametrize(
    ("result", "outcome"),
    [("PASS", "promote"), ("FAIL", "refuse"), ("INCONCLUSIVE", "inconclusive")],
)
def test_every_outcome_is_written_with_its_files(
    files: dict[str, bytes], spec: TrialSpec, result: str, outcome: str, tmp_path: Path
) -> None:
    verdict = verdict_of(spec, result)
    files = files | {"verdict.json": json.dumps(verdict.to_json()).encode()}
    decision, folder = decide(verdict, NOTHING_SERVES, EXECUTED, files, PARAMETERS)
    assert Decision.read(decision.to_json()) == decision
    assert decision.outcome == outcome
    assert decision.environment == "base"
    assert decision.candidate.files == {
        name: sha256(data).hexdigest() for name, data in folder.items() if name != "candidate.json"
    }
    assert json.loads(folder["champion_comparison.json"]) == NOTHING_SERVES.to_json()
    assert json.loads(folder["candidate_execution.json"]) == EXECUTED.to_json()
    assert files.items() <= folder.items()
    index = json.loads(folder["candidate.json"])
    assert index["decision"] == outcome
    assert index["decision_hash"] == decision.hash
    assert index["files"] == decision.candidate.files
    dataset = CandidateDirectory(str(tmp_path / "candidate"))
    dataset.save(folder)
    assert set(dataset.load()) == NAMES | COPIES | {"candidate.json"}


def test_the_decision_lists_whom_the_release_touches(
    files: dict[str, bytes], spec: TrialSpec
) -> None:
    owed = {"to": "ACME", "level": "class", "group": "a"}
    obligations = [{**owed, "contract_floor": 89.0}, {**owed, "notice_required": True}]
    policy = Policy.model_validate(POLICY.to_json() | {"obligations": obligations})
    verdict = verdict_of(spec, policy=policy)
    files = files | {"verdict.json": json.dumps(verdict.to_json()).encode()}
    decision, _ = decide(verdict, NOTHING_SERVES, EXECUTED, files, PARAMETERS)
    assert [each.name for each in decision.obligations] == [
        "ACME: contract_floor class a clean",
        "ACME: notice_required class a clean",
    ]
    assert "8 of 400 answers for class a under clean differ from the float model" in str(decision)
    assert decision.outcome == "promote"


def test_a_file_that_does_not_answer_as_judged_is_not_in_the_folder(
    files: dict[str, bytes], spec: TrialSpec
) -> None:
    executed = EXECUTED.model_copy(update={"withheld": ("model.onnx",)})
    decision, folder = decide(verdict_of(spec), NOTHING_SERVES, executed, files, PARAMETERS)
    assert decision.outcome == "promote"
    assert set(folder) >= {*files, "candidate.json"} - {"model.onnx"}
    assert "model.onnx" not in folder
    assert "model.onnx" not in decision.candidate.files
    assert "model.onnx" not in json.loads(folder["candidate.json"])["files"]


def test_without_a_candidate_the_refusal_is_still_written(model: FloatModel) -> None:
    verdict = verdict_of(None, "FAIL")
    files = export_candidate(verdict, make_trials(), {}, model, make_baseline(None))
    decision, folder = decide(verdict, NOTHING_SERVES, EXECUTED, files, PARAMETERS)
    assert set(folder) == {"verdict.json", "candidate.json"} | COPIES
    assert decision.outcome == "refuse"
    assert decision.candidate.trial_id is None


def test_what_does_not_belong_together_is_refused(
    model: FloatModel, calibration_set: CalibrationSet, spec: TrialSpec
) -> None:
    sets = {calibration_set.set_id: calibration_set}
    verdict, trials = verdict_of(spec), make_trials(spec)
    own = make_baseline(spec)
    with pytest.raises(InputError, match="no column 'spec'"):
        export_candidate(verdict, trials.drop(columns="spec"), sets, model, own)
    with pytest.raises(InputError, match="not among the trials"):
        export_candidate(verdict, trials.assign(trial_id="other"), sets, model, own)
    with pytest.raises(InputError, match="does not match its id"):
        edited = trials.assign(spec=trials["spec"].str.replace('"activation_bits": 4', '"x": 8'))
        export_candidate(verdict, edited, sets, model, own)
    with pytest.raises(InputError, match="calibration set .* is missing"):
        export_candidate(verdict, trials, {}, model, own)
    changed = CalibrationSet(calibration_set.manifest, calibration_set.images + np.uint8(1))
    with pytest.raises(InputError, match="pixels of calibration set"):
        export_candidate(verdict, trials, {calibration_set.set_id: changed}, model, own)
    other = FloatModel(model.module, model.preprocessing, model.classes, "retrained")
    with pytest.raises(InputError, match="float model float, but now it is retrained"):
        export_candidate(verdict, trials, sets, other, own)
    with pytest.raises(InputError, match="baseline is of trial None"):
        export_candidate(verdict, trials, sets, model, make_baseline(None))


def test_inputs_and_outputs() -> None:
    pipeline = create_pipeline()
    assert pipeline.inputs() == {
        "verdict",
        "trials",
        "calibration_sets",
        "float_model",
        "float_predictions",
        "candidate_baseline",
        "champion_comparison",
        "group_definitions",
        "images",
        "predictions",
        "profiles",
        "samples",
        "stressed_images",
        "trial_store",
        "params:promotion",
        "params:quantization",
        "params:stress",
    }
    assert pipeline.outputs() == {"decision", "candidate_model", "candidate_speed"}
