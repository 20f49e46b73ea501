"""Nodes that several pipelines begin with; Kedro runs equal nodes once."""

from kedro.pipeline import Node

from ptq_pipeline.images.audit_data import AuditData

AUDIT_DATA = Node(
    AuditData,
    ["samples", "images", "profiles", "group_definitions"],
    "audit_data",
    name="gather_audit_data",
)
