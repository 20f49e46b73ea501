"""What another process opens of a description answers as the workload that was described."""

import json
from contextlib import ExitStack

import numpy as np
import pandas as pd

from ptq_pipeline.images.audit_data import AuditData
from ptq_pipeline.images.source import content_hashes
from ptq_pipeline.models import Preprocessing, load_float_model
from ptq_pipeline.runtimes import build_runtime
from ptq_pipeline.trials.description import Files, describe, open_workload
from ptq_pipeline.trials.evaluation import build_evaluation
from ptq_pipeline.trials.workload import Workload

CLASSES = tuple("abcdefghij")


def test_a_worker_knows_which_objects_are_on_images(project, tmp_path):
    decoder = {"kind": "centre_stride", "height": 32, "width": 32, "strides": [8]}
    model = load_float_model(
        "ptq_pipeline.models.compact_detector",
        project / "data/06_models/reference/scenes_detector.safetensors",
        Preprocessing((0.2,), (0.25,)),
        CLASSES,
        detector={"decoder": decoder, "score": 0.05, "alarms": 3},
    )
    images = np.random.default_rng(0).integers(0, 256, (6, 1, 32, 32), dtype=np.uint8)
    on_each = json.dumps([{"bbox": [2, 2, 20, 20], "label": 3}, {"bbox": [0, 0, 9, 9], "label": 1}])
    samples = pd.DataFrame(
        {
            **{"sample_id": range(6), "content_hash": content_hashes(images), "label": 3},
            **{"split": "audit", "objects": [on_each] * 6},
        }
    )
    evaluation = build_evaluation(AuditData(samples, images), {}, ["clean"], model.task)
    runtime = build_runtime("simulated", threads=1)
    key = evaluation.fingerprint
    here = Workload(model, runtime, (1, 32, 32), evaluations={key: evaluation})
    with ExitStack() as kept:
        there = open_workload(describe(here, tmp_path), Files(), kept)
        answers = [
            each.predict(each.runtime.compile(each.prepared, None), each.evaluations[key], "clean")
            for each in (here, there)
        ]
    np.testing.assert_array_equal(*answers)
    assert len(answers[0]) == 6 * (2 + len(CLASSES))
    assert answers[0].any()
