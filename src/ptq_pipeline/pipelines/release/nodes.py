"""Nodes of ``release``."""

import logging
from collections.abc import Mapping
from pathlib import Path

from ptq_pipeline.core.provenance import describe_machine
from ptq_pipeline.judgement.champion import Comparison
from ptq_pipeline.judgement.decision import Decision, Execution
from ptq_pipeline.judgement.verdict import Verdict
from ptq_pipeline.registry.agreement import Registry
from ptq_pipeline.registry.evidence import Evidence, candidate_files
from ptq_pipeline.registry.records import Record
from ptq_pipeline.registry.release import Circumstances, ReleaseParameters, release
from ptq_pipeline.reporting.card import model_card

log = logging.getLogger(__name__)


def gather_evidence(
    verdict: Verdict,
    comparison: Comparison,
    execution: Execution,
    candidate_model: Mapping[str, Path],
) -> Evidence:
    """Bring together what a decision rests on."""
    return Evidence(verdict, comparison, execution, candidate_files(candidate_model))


def release_candidate(
    decision: Decision,
    evidence: Evidence,
    registry: Registry,
    parameters: ReleaseParameters,
) -> Record:
    """Make the candidate of a decision the champion; the same decision again changes nothing.

    Returns:
        The promotion's record.

    Raises:
        InputError: the decision does not follow from the evidence.
        RegistryError: the release is refused, or the registry cannot be changed; the message says
            why and the champion keeps serving.
    """
    there = Circumstances(machine=describe_machine(Path.cwd()), card=model_card)
    record = release(registry, evidence, decision, parameters, there)
    log.info("champion: %s", record.champion)
    return record
