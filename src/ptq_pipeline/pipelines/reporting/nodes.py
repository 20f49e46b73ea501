"""Nodes of ``reporting``: thin, since everything is written in ``ptq_pipeline.reporting``.

Whatever draws or renders imports matplotlib and jinja, so it is imported when a node runs.
"""

from pathlib import Path
from typing import Any

import pandas as pd

from ptq_pipeline.calibration.parameters import CalibrationParameters
from ptq_pipeline.core.group_ids import GroupDefinitions
from ptq_pipeline.core.provenance import describe_machine
from ptq_pipeline.judgement.decision import Decision
from ptq_pipeline.judgement.verdict import Verdict
from ptq_pipeline.reporting.results import AuditResults, AuditTables, ReportingParameters
from ptq_pipeline.reporting.summary import junit_report, pull_request_summary, three_lines
from ptq_pipeline.stress.shifts import StressParameters
from ptq_pipeline.trials.recipe import Recipe


def draw_figures(
    worst_case_table: pd.DataFrame,
    scores: pd.DataFrame,
    definitions: GroupDefinitions,
    parameters: ReportingParameters,
) -> dict[str, Any]:
    """Draw the figures of the report: ``<name>_figure`` for a PNG, ``<name>_drawing`` an SVG."""
    from ptq_pipeline.reporting.figures import FIGURES

    tables = AuditTables(
        worst_case_table=worst_case_table,
        scores=scores,
        group_definitions=definitions,
    )
    drawn = {name: draw(tables, parameters)[0] for name, draw in FIGURES.items()}
    return {
        f"{name}_{kind}": figure for name, figure in drawn.items() for kind in ("figure", "drawing")
    }


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
    audit = AuditResults(
        **results,
        parameters={name: group.model_dump(mode="json") for name, group in shown.items()},
        machine=describe_machine(Path.cwd()),
    )
    return render_report(audit, parameters)


def write_summary(
    verdict: Verdict, decision: Decision, parameters: ReportingParameters
) -> dict[str, list[str]]:
    """Give the three ``lines`` that end a run: decision, worst group, where the report is."""
    return {"lines": three_lines(verdict, decision, parameters.report_path, parameters.language)}


def write_pull_request_summary(
    verdict: Verdict,
    decision: Decision,
    worst_case_table: pd.DataFrame,
    parameters: ReportingParameters,
) -> str:
    """Write the Markdown summary for a pull request."""
    return pull_request_summary(verdict, decision, worst_case_table, parameters.language)


def write_junit(verdict: Verdict, decision: Decision) -> str:
    """Write the JUnit file for a CI server."""
    return junit_report(verdict, decision)
