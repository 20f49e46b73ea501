"""Nodes of ``reporting``: thin, since everything is written in ``ptq_pipeline.reporting``."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ptq_pipeline.calibration.parameters import CalibrationParameters
from ptq_pipeline.judgement.champion import Comparison
from ptq_pipeline.judgement.decision import Decision, Execution
from ptq_pipeline.judgement.verdict import Verdict
from ptq_pipeline.pipelines.reporting.parameters import ReportingParameters
from ptq_pipeline.stress.shifts import StressParameters
from ptq_pipeline.trials.recipe import Recipe

if TYPE_CHECKING:
    from ptq_pipeline.reporting.gallery import Draw
    from ptq_pipeline.reporting.inputs import ReportOptions


def plot_worst_groups(
    worst_case_table: pd.DataFrame,
    scores: pd.DataFrame,
    group_definitions: dict[str, Any],
    parameters: ReportingParameters,
) -> tuple[Any, Any]:
    """Draw the candidate's worst groups with their intervals, and the average."""
    from ptq_pipeline.reporting import gallery

    return _twice(gallery.worst_groups, worst_case_table, scores, group_definitions, parameters)


def plot_drop_distribution(
    worst_case_table: pd.DataFrame,
    scores: pd.DataFrame,
    group_definitions: dict[str, Any],
    parameters: ReportingParameters,
) -> tuple[Any, Any]:
    """Draw the drop of every class over the calibration draws."""
    from ptq_pipeline.reporting import gallery

    return _twice(
        gallery.drop_distribution, worst_case_table, scores, group_definitions, parameters
    )


def plot_group_shift_heat_map(
    worst_case_table: pd.DataFrame,
    scores: pd.DataFrame,
    group_definitions: dict[str, Any],
    parameters: ReportingParameters,
) -> tuple[Any, Any]:
    """Draw the mean drop of every class and segment under every shift."""
    from ptq_pipeline.reporting import gallery

    return _twice(
        gallery.group_shift_heat_map, worst_case_table, scores, group_definitions, parameters
    )


def plot_strategy_comparison(
    worst_case_table: pd.DataFrame,
    scores: pd.DataFrame,
    group_definitions: dict[str, Any],
    parameters: ReportingParameters,
) -> tuple[Any, Any]:
    """Draw the drops of every calibration strategy on the selection split."""
    from ptq_pipeline.reporting import gallery

    return _twice(
        gallery.strategy_comparison, worst_case_table, scores, group_definitions, parameters
    )


def write_report(
    quantization: Recipe,
    calibration: CalibrationParameters,
    stress: StressParameters,
    parameters: ReportingParameters,
    **results: Any,
) -> str:
    """Write the report; the parameters of earlier pipelines are shown to the reviewer.

    Args:
        quantization: Shown.
        calibration: Shown.
        stress: Shown.
        parameters: How the report looks.
        results: Documents and tables, by the names in :class:`.ReportInputs`.

    Returns:
        One HTML document that needs no other file and no network.
    """
    from ptq_pipeline.core.provenance import describe_machine
    from ptq_pipeline.reporting.inputs import ReportInputs
    from ptq_pipeline.reporting.page import render_report

    shown = {"quantization": quantization, "calibration": calibration, "stress": stress}
    comparison, execution = results["champion_comparison"], results["candidate_execution"]
    documents = {
        "verdict": Verdict.read(results["verdict"]),
        "decision": Decision.from_json(results["decision"]),
        "champion_comparison": Comparison.read(comparison) if comparison else None,
        "candidate_execution": Execution.read(execution) if execution else None,
    }
    inputs = ReportInputs(
        **(results | documents),
        parameters={name: group.model_dump(mode="json") for name, group in shown.items()},
        machine=describe_machine(Path.cwd()),
    )
    return render_report(inputs, _options(parameters))


def write_summary(
    verdict: dict[str, Any], decision: dict[str, Any], parameters: ReportingParameters
) -> dict[str, list[str]]:
    """Give the three ``lines`` that end a run: decision, worst group, where the report is."""
    from ptq_pipeline.reporting.summary import three_lines

    found = Verdict.read(verdict), Decision.from_json(decision)
    return {"lines": three_lines(*found, parameters.report_path, parameters.language)}


def write_pull_request_summary(
    verdict: dict[str, Any],
    decision: dict[str, Any],
    worst_case_table: pd.DataFrame,
    parameters: ReportingParameters,
) -> str:
    """Write the Markdown summary for a pull request."""
    from ptq_pipeline.reporting.pull_request import pull_request_summary

    found = Verdict.read(verdict), Decision.from_json(decision)
    return pull_request_summary(*found, worst_case_table, parameters.language)


def write_junit(verdict: dict[str, Any], decision: dict[str, Any]) -> str:
    """Write the JUnit file for a CI server."""
    from ptq_pipeline.reporting.junit import junit_report

    return junit_report(Verdict.read(verdict), Decision.from_json(decision))


def _twice(
    draw: "Draw",
    worst_case_table: pd.DataFrame,
    scores: pd.DataFrame,
    group_definitions: dict[str, Any],
    parameters: ReportingParameters,
) -> tuple[Any, Any]:
    """Draw a figure once, to be saved as PNG and as SVG."""
    figure = draw(worst_case_table, scores, group_definitions, _options(parameters)).figure
    return figure, figure


def _options(parameters: ReportingParameters) -> "ReportOptions":
    from ptq_pipeline.reporting.inputs import ReportOptions

    return ReportOptions(**parameters.model_dump(exclude={"report_path"}))
