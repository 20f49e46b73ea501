"""A trial is one quantized model, evaluated: identity, execution and where results are kept."""

from ptq_pipeline.trials.spec import TrialSpec, evaluation_hash
from ptq_pipeline.trials.store import TrialStore

__all__ = ["TrialSpec", "TrialStore", "evaluation_hash"]
