"""Decisions about a model: what was decided, on which evidence, sealed by hashes."""

from ptq_pipeline.registry.decisions import (
    DECISION_SCHEMA_VERSION,
    Decision,
    DecisionCandidate,
    Outcome,
    outcome_of,
)

__all__ = [
    "DECISION_SCHEMA_VERSION",
    "Decision",
    "DecisionCandidate",
    "Outcome",
    "outcome_of",
]
