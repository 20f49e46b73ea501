"""Nodes of ``release``."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ptq_pipeline.pipelines.release.parameters import ReleaseParameters
from ptq_pipeline.registry import Decision, Registry, ReleaseTerms, release

log = logging.getLogger(__name__)

INDEX = "candidate.json"


def release_candidate(
    decision: Mapping[str, Any],
    candidate_model: Mapping[str, Path],
    registry: Registry,
    parameters: ReleaseParameters,
) -> dict[str, Any]:
    """Make the candidate of a decision the champion; the same decision again changes nothing.

    Its model card is written beside its files.

    Returns:
        The promotion's record.

    Raises:
        RegistryError: the release is refused, or the registry cannot be changed; the message says
            why and the champion keeps serving.
    """
    from ptq_pipeline.provenance import describe_machine
    from ptq_pipeline.reporting.card import model_card

    terms = ReleaseTerms(
        environments=parameters.allowed_environments,
        acknowledged=parameters.acknowledged,
        by=parameters.by,
        trigger=parameters.trigger,
        machine=describe_machine(Path.cwd()),
        card=model_card,
    )
    files = {name: path.read_bytes() for name, path in candidate_model.items() if name != INDEX}
    record = release(registry, Decision.from_json(decision), files, terms)
    log.info("champion: %s", record.champion)
    return record.to_json()
