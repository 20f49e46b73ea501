"""What goes into a report: the results it shows, and how it shall look."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from ptq_pipeline.judgement.champion import Comparison
from ptq_pipeline.judgement.decision import Decision, Execution
from ptq_pipeline.judgement.verdict import Verdict


@dataclass(frozen=True)
class ReportOptions:
    """How the report looks; none of this changes a number.

    Attributes:
        language: Language of the texts.
        worst_cells: Rows of the first worst-case table, and reasons shown before the rest.
        max_classes: Classes drawn in figures; with more, those that lose most are drawn.
        max_rows: Largest number of rows of any table.
        name_length: Longest group name shown in full; longer ones are cut, with the full name as a
            tooltip.
        title: Title of the page; the words of the language when left out.
    """

    language: str = "en"
    worst_cells: int = 12
    max_classes: int = 30
    max_rows: int = 400
    name_length: int = 40
    title: str | None = None


@dataclass(frozen=True)
class ReportInputs:
    """Everything the report shows: documents, and tables as in the data contract.

    From ``champion_comparison`` on, an empty value means that there is nothing to show.
    ``candidate_speed``, ``decision_log`` and ``machine`` differ from machine to machine and from
    day to day; everything else is the same for the same audit. ``parameters`` holds the settings of
    the audit by group (``quantization``, ``calibration``, ``stress``) as plain JSON values; they
    are shown and not interpreted, but for the bit-widths.
    """

    verdict: Verdict
    decision: Decision
    worst_case_table: pd.DataFrame
    scores: pd.DataFrame
    calibration_set_index: pd.DataFrame
    calibration_validation: pd.DataFrame
    parity: pd.DataFrame
    drift_table: pd.DataFrame
    group_definitions: Mapping[str, Any]
    trials: pd.DataFrame
    champion_comparison: Comparison | None = None
    candidate_execution: Execution | None = None
    candidate_speed: Mapping[str, Any] = field(default_factory=dict)
    lost_images: Mapping[str, Any] = field(default_factory=dict)
    worst_group_layers: pd.DataFrame = field(default_factory=pd.DataFrame)
    decision_log: Sequence[Mapping[str, Any]] = ()
    machine: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
