"""Refuse to write a report whose parts do not belong together."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from ptq_pipeline.canonical import canonical_hash
from ptq_pipeline.errors import InputError

# Documents written by other rooms, which this one reads but must not import.
SCHEMA_VERSIONS = {"verdict": 1, "decision": 2}


def check_same_audit(
    verdict: Mapping[str, Any],
    decision: Mapping[str, Any],
    worst_case_table: pd.DataFrame,
    scores: pd.DataFrame,
) -> None:
    """Check that verdict, decision, worst-case table and scores come from one audit.

    Raises:
        InputError: If a schema version is unknown, or two of the parts contradict each other.
    """
    for name, document in (("verdict", verdict), ("decision", decision)):
        if document.get("schema_version") != SCHEMA_VERSIONS[name]:
            raise InputError(
                f"{name}.json has schema version {document.get('schema_version')!r}, this report "
                f"reads version {SCHEMA_VERSIONS[name]}; run the audit again with this version."
            )
    if decision.get("verdict_hash") != canonical_hash(dict(verdict)):
        raise InputError(
            "decision.json was not made from this verdict.json (their verdict hashes differ); run "
            "the pipelines worst_case_check and promotion again."
        )
    candidate = verdict["candidate"]
    if _drops(candidate["cells"]) != _drops(worst_case_table.to_dict("records")):
        raise InputError(
            "worst_case_table does not hold the cells of verdict.json, so they come from two "
            "audits; run the pipeline worst_case_check again."
        )
    trial = candidate["trial_id"]
    if trial is not None and trial not in set(scores["trial_id"]):
        raise InputError(
            f"The verdict's candidate {trial!r} has no rows in the scores, so they come from two "
            "audits; run the pipelines from subgroup_scoring on again."
        )


def _drops(cells: list[dict[str, Any]]) -> dict[tuple[str, str, str], tuple[int, float]]:
    # Rounding guards against writers that do not keep every digit of a double.
    return {
        (cell["level"], cell["group"], cell["shift"]): (int(cell["n"]), round(cell["drop"], 12))
        for cell in cells
    }
