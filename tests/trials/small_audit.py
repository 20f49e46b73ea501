"""An audit of a few hundred images, shared by the tests of early looks and of samples."""

from ptq_pipeline.core.grouping import build_groups
from ptq_pipeline.images.audit_data import AuditData
from ptq_pipeline.judgement.policy import Policy
from ptq_pipeline.stress.shifts import StressParameters
from ptq_pipeline.trials.audit import Audit
from ptq_pipeline.trials.recipe import Recipe
from ptq_pipeline.trials.trial import TrialStore

CLASSES = list("abcdefghij")
LIMIT = {"points": 30.0}


def policy(draws, p0, **more):
    levels = ("average", "class", "segment", "intersection")
    limits = {level: LIMIT for level in levels}
    return Policy.model_validate({"draws": draws, "p0": p0, "limits": limits, **more})


def gather(data, model, folder, bits):
    images, samples, _, _ = data
    recipe = Recipe(
        method={"weight_bits": bits, "activation_bits": bits},
        runtime={"name": "openvino", "threads": 1},
    )
    shifts = StressParameters({"clean": {}})
    audit = Audit(AuditData(samples, images), {}, model, TrialStore(folder), shifts, recipe)
    return audit, build_groups(samples, CLASSES, {})
