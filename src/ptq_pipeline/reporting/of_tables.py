"""The report on a table of outcomes: the audit's own, without what a table does not say."""

import pandas as pd

from ptq_pipeline.judgement.decision import Decision
from ptq_pipeline.reporting.page import render_report
from ptq_pipeline.reporting.results import AuditResults, ReportingParameters
from ptq_pipeline.tasks.judging import JudgedTable


def render_table_report(judged: JudgedTable, decision: Decision, language: str = "en") -> str:
    """Write the report as one HTML document that needs no other file and no network."""
    nothing = pd.DataFrame()
    results = AuditResults(
        verdict=judged.verdict,
        decision=decision,
        worst_case_table=judged.cells,
        scores=judged.scores,
        group_definitions=judged.given.definitions,
        calibration_set_index=judged.index,
        calibration_validation=nothing,
        parity=nothing,
        drift_table=nothing,
        trials=judged.trials,
        parameters={},
    )
    return render_report(results, ReportingParameters(language=language))
