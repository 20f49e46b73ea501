"""What does not work on detectors yet is one sentence, before any work."""

import json

import numpy as np
import pandas as pd
import pytest

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.grouping import SubgroupScoringParameters, build_groups
from ptq_pipeline.core.units import units_of
from ptq_pipeline.judgement.policy import Policy
from ptq_pipeline.models import FloatModel, Preprocessing
from ptq_pipeline.pipelines.benchmark.nodes import benchmark_of
from ptq_pipeline.pipelines.benchmark.parameters import BenchmarkParameters
from ptq_pipeline.pipelines.monitoring.nodes import gather_audited
from ptq_pipeline.pipelines.worst_case_check.nodes import check_names
from ptq_pipeline.stress.shifts import StressParameters
from ptq_pipeline.tasks.detector import Detection
from ptq_pipeline.trials.audit import Audit
from ptq_pipeline.trials.settling import SettlingParameters, settle

CLASSES = ("cup", "fork")
STRESS = StressParameters({"clean": {}})


@pytest.fixture
def detector():
    task = Detection.of(CLASSES, {"decoder": {"kind": "end_to_end"}})
    return FloatModel(None, Preprocessing((0.0,), (1.0,)), CLASSES, "f", task=task)


@pytest.fixture
def samples():
    cup = json.dumps([{"bbox": [0, 0, 5, 5], "label": 0, "columns": {}}])
    one = {"sample_id": [0], "content_hash": ["a"], "split": "audit", "label": 0, "objects": cup}
    return pd.DataFrame(one)


def policy(**more):
    levels = ("average", "class", "segment", "intersection")
    return Policy.model_validate({"limits": {each: {"points": 5.0} for each in levels}, **more})


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"evaluation": "sampled"}, "evaluation: sampled"),
        ({"representatives": {}, "draws": 3}, "representatives"),
        ({"class_priors": {"night": {"cup": 0.5, "fork": 0.5}}}, "class_priors"),
    ],
)
def test_a_policy(samples, asked, named):
    groups = build_groups(units_of(samples), CLASSES, {})
    with pytest.raises(InputError, match=f"{named}.* not yet for detectors"):
        check_names(groups, policy(**asked), STRESS, samples=samples)


def test_settling(detector):
    audit = Audit(None, {}, detector, None, STRESS, None)
    with pytest.raises(InputError, match="settling looks at single images"):
        settle(audit, None, {}, SettlingParameters())


def test_watching(detector):
    with pytest.raises(InputError, match="not yet for detectors"):
        gather_audited(None, detector, {}, SubgroupScoringParameters())


def test_the_benchmark(samples, project):
    from kedro.config import OmegaConfigLoader

    from ptq_pipeline import settings

    loader = OmegaConfigLoader(str(project / "conf"), env="base", **settings.CONFIG_LOADER_ARGS)
    parameters = BenchmarkParameters.model_validate(loader["parameters"]["benchmark"])
    run = benchmark_of("resnet20")
    with pytest.raises(InputError, match="not yet on detectors"):
        run(samples, np.zeros((1, 1, 8, 8), np.uint8), {}, None, None, parameters)
