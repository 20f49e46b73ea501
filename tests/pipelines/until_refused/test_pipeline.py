import gzip

import numpy as np
import pandas as pd
import pytest

from ptq_pipeline.calibration.draws import draw_set
from ptq_pipeline.calibration.parameters import DrawPlan
from ptq_pipeline.calibration.strategies import parse_strategy
from ptq_pipeline.calibration.strategy import Pool
from ptq_pipeline.core.group_ids import GroupDefinitions
from ptq_pipeline.core.grouping import SubgroupScoringParameters
from ptq_pipeline.images.audit_data import AuditData
from ptq_pipeline.images.source import content_hashes
from ptq_pipeline.judgement.ledger import Ledger
from ptq_pipeline.judgement.policy import Policy
from ptq_pipeline.models import Preprocessing, load_float_model
from ptq_pipeline.pipelines.quantization import nodes
from ptq_pipeline.pipelines.settling.nodes import plan_scope
from ptq_pipeline.pipelines.subgroup_scoring.nodes import define_groups
from ptq_pipeline.pipelines.until_refused.pipeline import run_trials_until_refused
from ptq_pipeline.stress.shifts import StressParameters
from ptq_pipeline.trials.audit import Audit
from ptq_pipeline.trials.recipe import Recipe
from ptq_pipeline.trials.trial import TrialStore

SHIFTS = StressParameters({"clean": {}, "noise": {"kind": "gaussian_noise", "sigma": 0.1}})
LEVELS = ("average", "class", "segment", "intersection")
POLICY = Policy.model_validate(
    {"draws": 6, "p0": 0.1, "limits": dict.fromkeys(LEVELS, {"points": 30.0})}
)


@pytest.mark.parametrize(
    "executor",
    [{"kind": "serial"}, pytest.param({"kind": "process", "workers": 2}, marks=pytest.mark.slow)],
)
def test_a_refused_recipe_costs_no_more_draws_whoever_runs_them(
    project, raw_data, tmp_path, executor
):
    """The reference model at two bits."""
    model = load_float_model(
        "ptq_pipeline.models.resnet20",
        project / "data/06_models/reference/resnet20.safetensors",
        Preprocessing((0.286,), (0.353,)),
        list("abcdefghij"),
    )
    raw = gzip.decompress((raw_data / "fashion_mnist/test/images-idx3-ubyte.gz").read_bytes())
    images = np.frombuffer(raw, np.uint8, count=320 * 784, offset=16).reshape(-1, 1, 28, 28)
    raw = gzip.decompress((raw_data / "fashion_mnist/test/labels-idx1-ubyte.gz").read_bytes())
    samples = pd.DataFrame(
        {
            **{"sample_id": range(320), "content_hash": content_hashes(images)},
            "label": np.frombuffer(raw, np.uint8, count=320, offset=8).astype(int),
            "split": ["audit", "pool", "selection", "reference"] * 80,
        }
    )
    groups = GroupDefinitions(classes=tuple(model.classes), segments={})
    pool = Pool.from_samples(samples, groups)
    plan = DrawPlan(parse_strategy("random"), 8, 0)
    drawn = [draw_set(pool, images, plan, draw) for draw in range(9)]
    evidence = pd.DataFrame(
        {
            **{"set_id": [each.set_id for each in drawn], "strategy": "random"},
            **{"role": ["evidence"] * 8 + ["comparison"], "draw": [*range(8), 0], "valid": True},
        }
    )
    by_id = {each.set_id: each for each in drawn}
    parameters = Recipe.model_validate(
        {
            "method": {"weight_bits": 2, "activation_bits": 2},
            "runtime": {"name": "openvino", "threads": 1},
            "executor": executor,
        }
    )
    data = AuditData(samples, images, definitions=groups)
    store, stressed = TrialStore(tmp_path / "trials"), nodes.stress_images(data, SHIFTS)
    audit = Audit(data, stressed, model, store, SHIFTS, parameters)
    found = define_groups(samples, groups, SubgroupScoringParameters())
    ledger = Ledger(tmp_path / "ledger.jsonl")
    scope = plan_scope(data, found, evidence, POLICY, ledger)
    trials, predictions, _ = run_trials_until_refused(audit, by_id, evidence, ledger, scope)
    assert trials["role"].tolist() == ["evidence"] * 4 + ["comparison"]
    whole, all_predictions, _ = nodes.run_trials(audit, by_id, evidence)
    assert len(whole) == 9
    pd.testing.assert_frame_equal(trials, whole.iloc[[*range(4), 8]].reset_index(drop=True))
    kept = all_predictions["trial_id"].isin(trials["trial_id"])
    assert predictions.astype(str).equals(all_predictions[kept].astype(str).reset_index(drop=True))
