"""Decisions about a model, and the versions that were promoted by them, sealed by hashes."""

from ptq_pipeline.judgement.decision import Decision, DecisionCandidate, Outcome, outcome_of
from ptq_pipeline.registry.baseline import BASELINE_FILE, baseline_bytes, no_champion
from ptq_pipeline.registry.errors import (
    ChampionChangedError,
    RegistryError,
    ReleaseRefusedError,
    VerificationError,
)
from ptq_pipeline.registry.evidence import (
    COMPARISON_FILE,
    EXECUTION_FILE,
    VERDICT_FILE,
    Evidence,
    check_part,
)
from ptq_pipeline.registry.records import Kind, Record
from ptq_pipeline.registry.release import (
    ReleaseTerms,
    excused,
    note,
    release,
    repair,
    rollback,
    waive,
    waivers_in_force,
)
from ptq_pipeline.registry.store import Champion, Registry
from ptq_pipeline.registry.verification import check_version, verify
from ptq_pipeline.registry.waivers import Waiver

__all__ = [
    "BASELINE_FILE",
    "COMPARISON_FILE",
    "EXECUTION_FILE",
    "VERDICT_FILE",
    "Evidence",
    "Champion",
    "ChampionChangedError",
    "Decision",
    "DecisionCandidate",
    "Kind",
    "Outcome",
    "Record",
    "Registry",
    "RegistryError",
    "ReleaseRefusedError",
    "ReleaseTerms",
    "VerificationError",
    "Waiver",
    "baseline_bytes",
    "check_part",
    "check_version",
    "excused",
    "no_champion",
    "note",
    "outcome_of",
    "release",
    "repair",
    "rollback",
    "verify",
    "waive",
    "waivers_in_force",
]
