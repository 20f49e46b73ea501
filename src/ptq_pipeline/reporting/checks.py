"""Refuse to write a report whose parts do not belong together."""

from typing import TYPE_CHECKING, Any

from ptq_pipeline.canonical import canonical_hash
from ptq_pipeline.errors import InputError

if TYPE_CHECKING:
    from ptq_pipeline.reporting.inputs import ReportInputs

# Documents written by other rooms, which this one reads but must not import.
SCHEMA_VERSIONS = {"verdict": (1,), "decision": (2, 3)}


def check_same_audit(inputs: "ReportInputs") -> None:
    """Check that all parts of a report come from one audit.

    Raises:
        InputError: If a schema version is unknown, or two of the parts contradict each other; the
            message names both and the pipeline to run again.
    """
    verdict, decision = inputs.verdict, inputs.decision
    for name, document in (("verdict", verdict), ("decision", decision)):
        if document.get("schema_version") not in SCHEMA_VERSIONS[name]:
            raise InputError(
                f"{name}.json has schema version {document.get('schema_version')!r}, this report "
                f"reads version {SCHEMA_VERSIONS[name][-1]}; run the audit again with this version."
            )
    if decision.get("verdict_hash") != canonical_hash(dict(verdict)):
        raise InputError(
            "decision.json was not made from this verdict.json (their verdict hashes differ); run "
            "the pipelines worst_case_check and promotion again."
        )
    comparison = dict(inputs.champion_comparison)
    if comparison and decision.get("comparison_hash") != canonical_hash(comparison):
        raise InputError(
            "decision.json was not made from this champion_comparison.json (their hashes differ); "
            "run the pipelines worst_case_check and promotion again."
        )
    candidate = verdict["candidate"]
    if _drops(candidate["cells"]) != _drops(inputs.worst_case_table.to_dict("records")):
        raise InputError(
            "worst_case_table does not hold the cells of verdict.json, so they come from two "
            "audits; run the pipeline worst_case_check again."
        )
    _check_candidate(inputs, candidate["trial_id"])
    _check_classes(inputs)


def _check_candidate(inputs: "ReportInputs", trial: str | None) -> None:
    if trial is not None and trial not in set(inputs.scores["trial_id"]):
        raise InputError(
            f"The verdict's candidate {trial!r} has no rows in the scores, so they come from two "
            "audits; run the pipelines from subgroup_scoring on again."
        )
    for name, pipeline in (
        ("candidate_execution", "promotion"),
        ("candidate_speed", "promotion"),
        ("lost_images", "reporting"),
    ):
        document = getattr(inputs, name)
        if document and document.get("trial_id") != trial:
            raise InputError(
                f"{name}.json is about trial {document.get('trial_id')!r}, the verdict's candidate "
                f"is {trial!r}, so they come from two audits; run the pipeline {pipeline} again."
            )


def _check_classes(inputs: "ReportInputs") -> None:
    """Classes stand in label order everywhere, so another order is another class list."""
    cells = inputs.verdict["candidate"]["cells"]
    judged = list(dict.fromkeys(cell["group"] for cell in cells if cell["level"] == "class"))
    classes = [str(name) for name in inputs.group_definitions["classes"]]
    if judged and judged != [name for name in classes if name in set(judged)]:
        raise InputError(
            "group_definitions.json lists the classes as "
            f"{', '.join(classes[:4])} ..., verdict.json as {', '.join(judged[:4])} ...: the class "
            "list was changed or put in another order after the audit; run the audit again."
        )


def _drops(cells: list[dict[str, Any]]) -> dict[tuple[str, str, str], tuple[int, float]]:
    # Rounding guards against writers that do not keep every digit of a double.
    return {
        (cell["level"], cell["group"], cell["shift"]): (int(cell["n"]), round(cell["drop"], 12))
        for cell in cells
    }
