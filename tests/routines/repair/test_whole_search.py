"""A whole search on a few small images: stopped anywhere it goes on to the same end."""

import numpy as np
import pandas as pd

from ptq_pipeline.calibration.strategy import Pool
from ptq_pipeline.core.group_ids import GroupDefinitions
from ptq_pipeline.core.grouping import SubgroupScoringParameters
from ptq_pipeline.images.audit_data import AuditData
from ptq_pipeline.images.source import content_hashes
from ptq_pipeline.judgement.policy import Policy
from ptq_pipeline.ptq import method_from_json
from ptq_pipeline.routines.repair.parameters import RepairParameters
from ptq_pipeline.routines.repair.search import Search
from ptq_pipeline.routines.repair.space import AS_IT_IS, Variant
from ptq_pipeline.stress.shifts import StressParameters
from ptq_pipeline.trials.audit import Audit
from ptq_pipeline.trials.recipe import Recipe
from ptq_pipeline.trials.trial import TrialStore

CLASSES, BITS = ["a", "b", "c"], {"weight_bits": 3, "activation_bits": 8}
SHIFTS = {"clean": {}, "noise": {"kind": "gaussian_noise", "sigma": 0.1}}
LOOSE = {"points": 90}
POLICY = {"limits": {"average": LOOSE, "class": LOOSE, "segment": LOOSE, "intersection": LOOSE}}
IMAGES = np.random.default_rng(0).integers(0, 256, (80, 1, 12, 12), dtype=np.uint8)
SAMPLES = pd.DataFrame(
    {
        "sample_id": range(80),
        "content_hash": content_hashes(IMAGES),
        "label": np.arange(80) % 3,
        "split": ["audit", "pool", "selection", "audit"] * 20,
    }
)
VARIANTS = [
    Variant(name, method_from_json(BITS | values), 1, drawing)
    for name, values, drawing in (
        (AS_IT_IS, {}, {}),
        ("matched", {"corrections": ["output_matching"]}, {}),
        # A pool of 20 images has no set of 64.
        ("many", {}, {"set_size": 64}),
    )
]


def search(model, folder, samples=SAMPLES, **parameters):
    definitions = {"classes": CLASSES, "segments": {}}
    audit = Audit(
        AuditData(samples, IMAGES), {}, model, TrialStore(folder), StressParameters(SHIFTS),
        Recipe(method=BITS, runtime={"name": "openvino", "threads": 1}, statistics="direct"),
    )  # fmt: skip
    return Search(
        audit,
        Pool.from_samples(samples, GroupDefinitions.read(definitions)),
        {"set_size": 8, "seed": 3, "validation": {"features": ["brightness"]}},
        SubgroupScoringParameters().build(audit.data.evaluated, GroupDefinitions.read(definitions)),
        Policy.model_validate(POLICY),
        RepairParameters(draws=2, **parameters),
    )


def came(found):
    return [(tried.variant.name, tried.error, [*map(tuple, tried.drops)]) for tried in found]


def test_a_search_that_is_stopped_after_any_trial_ends_as_one_that_was_not(
    random_model, tmp_path, monkeypatch
):
    whole = came(search(random_model, tmp_path / "whole").run(VARIANTS))
    by_name = {name: (error, drops) for name, error, drops in whole}
    assert by_name["many"][0].startswith("calibration sets of 64 images")
    assert len(by_name["matched"][1]) == len(by_name[AS_IT_IS][1]) == 2
    put, stops = TrialStore.put, 0

    def put_and_stop(self, *args):
        put(self, *args)
        raise KeyboardInterrupt

    while True:
        with monkeypatch.context() as patched:
            patched.setattr(TrialStore, "put", put_and_stop)
            try:
                found = search(random_model, tmp_path / "stopped").run(VARIANTS)
                break
            except KeyboardInterrupt:
                stops += 1
    # The float model, and two draws of two recipes.
    assert stops == 5
    assert came(found) == whole


def test_a_search_that_runs_out_of_time_says_so(random_model, tmp_path):
    stopped = search(random_model, tmp_path, minutes=1e-9)
    assert {len(each.drops) for each in stopped.run(VARIANTS[:2])} == {1}
    assert stopped.notes == [
        "the search stopped after 1 of 2 draws, because `repair.minutes` is 1e-09"
    ]
