"""Nodes of ``reporting``: thin, since everything is written in ``ptq_pipeline.reporting``.

Whatever draws or renders imports matplotlib and jinja, so it is imported when a node runs.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ptq_pipeline.calibration.parameters import CalibrationParameters
from ptq_pipeline.core.provenance import describe_machine
from ptq_pipeline.judgement.decision import Decision
from ptq_pipeline.judgement.verdict import Verdict
from ptq_pipeline.reporting.results import AuditResults, AuditTables, ReportingParameters
from ptq_pipeline.reporting.summary import junit_report, pull_request_summary, three_lines
from ptq_pipeline.stress.shifts import StressParameters
from ptq_pipeline.trials.recipe import Recipe

# A figure twice, to be saved as PNG and as SVG.
Twice = tuple[Any, Any]


def plot_worst_groups(
    worst_case_table: pd.DataFrame,
    scores: pd.DataFrame,
    group_definitions: dict[str, Any],
    parameters: ReportingParameters,
) -> Twice:
    """Draw the candidate's worst groups with their intervals, and the average."""
    return _drawn("worst_groups", parameters, worst_case_table, scores, group_definitions)


def plot_drop_distribution(
    worst_case_table: pd.DataFrame,
    scores: pd.DataFrame,
    group_definitions: dict[str, Any],
    parameters: ReportingParameters,
) -> Twice:
    """Draw the drop of every class over the calibration draws."""
    return _drawn("drop_distribution", parameters, worst_case_table, scores, group_definitions)


def plot_group_shift_heat_map(
    worst_case_table: pd.DataFrame,
    scores: pd.DataFrame,
    group_definitions: dict[str, Any],
    parameters: ReportingParameters,
) -> Twice:
    """Draw the mean drop of every class and segment under every shift."""
    return _drawn("group_shift_heatmap", parameters, worst_case_table, scores, group_definitions)


def plot_strategy_comparison(
    worst_case_table: pd.DataFrame,
    scores: pd.DataFrame,
    group_definitions: dict[str, Any],
    parameters: ReportingParameters,
) -> Twice:
    """Draw the drops of every calibration strategy on the selection split."""
    return _drawn("strategy_comparison", parameters, worst_case_table, scores, group_definitions)


def _drawn(
    name: str,
    parameters: ReportingParameters,
    worst_case_table: pd.DataFrame,
    scores: pd.DataFrame,
    group_definitions: Mapping[str, Any],
) -> Twice:
    from ptq_pipeline.reporting.figures import FIGURES

    tables = AuditTables(
        worst_case_table=worst_case_table, scores=scores, group_definitions=group_definitions
    )
    figure, _ = FIGURES[name](tables, parameters)
    return figure, figure


def write_report(
    quantization: Recipe,
    calibration: CalibrationParameters,
    stress: StressParameters,
    parameters: ReportingParameters,
    **results: Any,
) -> str:
    """Write the report as one HTML document that needs no other file and no network.

    ``results`` are documents and tables, by their names in :class:`.AuditResults`; the parameters
    of earlier pipelines are shown to the reviewer.
    """
    from ptq_pipeline.reporting.page import render_report

    shown = {"quantization": quantization, "calibration": calibration, "stress": stress}
    audit = AuditResults.read(
        results,
        parameters={name: group.model_dump(mode="json") for name, group in shown.items()},
        machine=describe_machine(Path.cwd()),
    )
    return render_report(audit, parameters)


def write_summary(
    verdict: dict[str, Any], decision: dict[str, Any], parameters: ReportingParameters
) -> dict[str, list[str]]:
    """Give the three ``lines`` that end a run: decision, worst group, where the report is."""
    found = Verdict.read(verdict), Decision.from_json(decision)
    return {"lines": three_lines(*found, parameters.report_path, parameters.language)}


def write_pull_request_summary(
    verdict: dict[str, Any],
    decision: dict[str, Any],
    worst_case_table: pd.DataFrame,
    parameters: ReportingParameters,
) -> str:
    """Write the Markdown summary for a pull request."""
    found = Verdict.read(verdict), Decision.from_json(decision)
    return pull_request_summary(*found, worst_case_table, parameters.language)


def write_junit(verdict: dict[str, Any], decision: dict[str, Any]) -> str:
    """Write the JUnit file for a CI server."""
    return junit_report(Verdict.read(verdict), Decision.from_json(decision))
