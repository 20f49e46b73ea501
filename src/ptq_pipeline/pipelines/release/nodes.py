"""Nodes of ``release``."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ptq_pipeline.pipelines.release.parameters import ReleaseParameters
from ptq_pipeline.registry import Evidence, Registry, ReleaseTerms, release

log = logging.getLogger(__name__)

INDEX = "candidate.json"


def candidate_files(paths: Mapping[str, Path]) -> dict[str, bytes]:
    """Read the candidate's files, without their index."""
    return {name: path.read_bytes() for name, path in paths.items() if name != INDEX}


def release_candidate(
    decision: Mapping[str, Any],
    verdict: Mapping[str, Any],
    comparison: Mapping[str, Any],
    execution: Mapping[str, Any],
    candidate_model: Mapping[str, Path],
    registry: Registry,
    parameters: ReleaseParameters,
) -> dict[str, Any]:
    """Make the candidate of a decision the champion; the same decision again changes nothing.

    The decision is held against verdict, comparison and execution beside it and decided once more.
    The model card is written beside the candidate's files.

    Returns:
        The promotion's record.

    Raises:
        InputError: the decision does not follow from what stands beside it.
        RegistryError: the release is refused, or the registry cannot be changed; the message says
            why and the champion keeps serving.
    """
    from ptq_pipeline.core.provenance import describe_machine
    from ptq_pipeline.reporting.card import model_card

    terms = ReleaseTerms(
        environments=parameters.allowed_environments,
        acknowledged=parameters.acknowledged,
        by=parameters.by,
        trigger=parameters.trigger,
        machine=describe_machine(Path.cwd()),
        card=model_card,
    )
    evidence = Evidence(verdict, comparison, execution, candidate_files(candidate_model))
    record = release(registry, evidence.check(decision), evidence.files, terms)
    log.info("champion: %s", record.champion)
    return record.to_json()
