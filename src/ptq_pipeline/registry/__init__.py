"""Promoted versions, and the decisions that they rest on, sealed by hashes."""

from ptq_pipeline.judgement.decision import Decision, DecisionCandidate, Outcome, outcome_of
from ptq_pipeline.registry.agreement import Registry
from ptq_pipeline.registry.evidence import (
    COMPARISON_FILE,
    EXECUTION_FILE,
    INDEX_FILE,
    Evidence,
    candidate_files,
    check_part,
    rests_on,
)
from ptq_pipeline.registry.records import Kind, Record, Records, RegistryError, VerificationError
from ptq_pipeline.registry.release import (
    ChampionChangedError,
    Circumstances,
    ReleaseParameters,
    ReleaseRefusedError,
    excused,
    note,
    release,
    rollback,
    waive,
)
from ptq_pipeline.registry.store import ANSWERS_FILE, Champion, baseline_bytes
from ptq_pipeline.registry.waivers import Waiver

__all__ = [
    "ANSWERS_FILE",
    "COMPARISON_FILE",
    "EXECUTION_FILE",
    "INDEX_FILE",
    "Champion",
    "ChampionChangedError",
    "Circumstances",
    "Decision",
    "DecisionCandidate",
    "Evidence",
    "Kind",
    "Outcome",
    "Record",
    "Records",
    "Registry",
    "RegistryError",
    "ReleaseParameters",
    "ReleaseRefusedError",
    "VerificationError",
    "Waiver",
    "baseline_bytes",
    "candidate_files",
    "check_part",
    "excused",
    "note",
    "outcome_of",
    "release",
    "rests_on",
    "rollback",
    "waive",
]
