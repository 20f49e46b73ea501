"""The node that gathers an audit; apart from `nouns`, as not every stage knows of trials."""

from kedro.pipeline import Node

from ptq_pipeline.trials.audit import Audit

AUDIT = Node(
    Audit,
    [
        *("audit_data", "stressed_images", "float_model", "trial_store"),
        *("params:stress", "params:quantization"),
    ],
    "audit",
    name="gather_audit",
)
