"""The report's figures by name: each drawn from the tables, with the words that go with it.

The figures share one style and write the same bytes for the same numbers. Importing them imports
matplotlib.
"""

from collections.abc import Callable, Mapping
from typing import Any

from ptq_pipeline.reporting.figures.heat_map import group_shift_heat_map
from ptq_pipeline.reporting.figures.rows import (
    drop_distribution,
    strategy_comparison,
    worst_groups,
)
from ptq_pipeline.reporting.figures.style import ReportFigure
from ptq_pipeline.reporting.results import AuditTables, ReportingParameters

# Gives a figure and the values that its caption and its alternative text need.
Draw = Callable[[AuditTables, ReportingParameters], tuple[ReportFigure, Mapping[str, Any]]]

FIGURES: dict[str, Draw] = {
    "worst_groups": worst_groups,
    "drop_distribution": drop_distribution,
    "group_shift_heatmap": group_shift_heat_map,
    "strategy_comparison": strategy_comparison,
}
