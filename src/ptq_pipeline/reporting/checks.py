"""Refuse to write a report whose parts do not belong together."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.group_ids import CellKey
from ptq_pipeline.judgement.candidate import MeasuredCell
from ptq_pipeline.judgement.summary import SpreadCell

if TYPE_CHECKING:
    from ptq_pipeline.reporting.inputs import ReportInputs


def check_same_audit(inputs: "ReportInputs") -> None:
    """Check that all parts of a report come from one audit.

    Raises:
        InputError: If a schema version is unknown, or two of the parts contradict each other; the
            message names both and the pipeline to run again.
    """
    verdict, decision = inputs.verdict, inputs.decision
    if decision.verdict_hash != verdict.hash:
        raise InputError(
            "decision.json was not made from this verdict.json (their verdict hashes differ); run "
            "the pipelines worst_case_check and promotion again."
        )
    comparison = inputs.champion_comparison
    if comparison is not None and decision.comparison_hash != comparison.hash:
        raise InputError(
            "decision.json was not made from this champion_comparison.json (their hashes differ); "
            "run the pipelines worst_case_check and promotion again."
        )
    candidate = verdict.candidate
    if _drops(candidate.cells) != _drops(SpreadCell.of_table(inputs.worst_case_table)):
        raise InputError(
            "worst_case_table does not hold the cells of verdict.json, so they come from two "
            "audits; run the pipeline worst_case_check again."
        )
    _check_candidate(inputs, candidate.trial_id)
    _check_classes(inputs)


def _check_candidate(inputs: "ReportInputs", trial: str | None) -> None:
    if trial is not None and trial not in set(inputs.scores["trial_id"]):
        raise InputError(
            f"The verdict's candidate {trial!r} has no rows in the scores, so they come from two "
            "audits; run the pipelines from subgroup_scoring on again."
        )
    execution = inputs.candidate_execution
    for name, pipeline, there, about in (
        ("candidate_execution", "promotion", execution, execution and execution.trial_id),
        *(
            (name, pipeline, document, document.get("trial_id"))
            for name, pipeline, document in (
                ("candidate_speed", "promotion", inputs.candidate_speed),
                ("lost_images", "reporting", inputs.lost_images),
            )
        ),
    ):
        if there and about != trial:
            raise InputError(
                f"{name}.json is about trial {about!r}, the verdict's candidate "
                f"is {trial!r}, so they come from two audits; run the pipeline {pipeline} again."
            )


def _check_classes(inputs: "ReportInputs") -> None:
    """Classes stand in label order everywhere, so another order is another class list."""
    cells = inputs.verdict.candidate.cells
    judged = list(dict.fromkeys(cell.group for cell in cells if cell.level == "class"))
    classes = [str(name) for name in inputs.group_definitions["classes"]]
    if judged and judged != [name for name in classes if name in set(judged)]:
        raise InputError(
            "group_definitions.json lists the classes as "
            f"{', '.join(classes[:4])} ..., verdict.json as {', '.join(judged[:4])} ...: the class "
            "list was changed or put in another order after the audit; run the audit again."
        )


def _drops(cells: Iterable[MeasuredCell]) -> dict[CellKey, tuple[int, float]]:
    # Rounding guards against writers that do not keep every digit of a double.
    return {cell.key: (cell.n, round(cell.drop, 12)) for cell in cells}
