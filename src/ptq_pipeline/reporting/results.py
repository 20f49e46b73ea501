"""What a report shows: the documents and tables of one audit, and how it looks."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, field_validator

from ptq_pipeline.artifact.speed import CandidateSpeed
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.group_ids import (
    CLASS_COLUMN,
    CLASS_LEVEL,
    LEVELS,
    CellDocument,
    CellKey,
    GroupDefinitions,
)
from ptq_pipeline.core.names import CLEAN
from ptq_pipeline.judgement.candidate import MeasuredCell
from ptq_pipeline.judgement.champion import Comparison
from ptq_pipeline.judgement.decision import Decision, Execution
from ptq_pipeline.judgement.judging import Status
from ptq_pipeline.judgement.summary import SpreadCell
from ptq_pipeline.judgement.verdict import Verdict
from ptq_pipeline.reporting.detector_figures import DetectorFigures
from ptq_pipeline.reporting.lost_images import LostImages
from ptq_pipeline.reporting.texts import available_languages, what_is_judged
from ptq_pipeline.statistics.draws import split_budget

Cell = TypeVar("Cell", bound=MeasuredCell)


class ReportingParameters(BaseModel):
    """How the report looks; none of this changes a number.

    Attributes:
        title: Title of the page; the words of the language when left out.
        model_name: What people call the model; the first digits of its hash when left out.
        data_name: What people call the data; how many audit images there are when left out.
        mount: Namespace of the pipelines, which commands in the report name; none in a project of
            its own.
        language: Language of the texts.
        worst_cells: Rows of the first worst-case table, and reasons shown before the rest.
        max_classes: Classes drawn in figures; with more, those that lose most are drawn.
        max_rows: Largest number of rows of any table.
        name_length: Longest group name shown in full; longer ones are cut, with the full name as a
            tooltip.
        report_path: What the last line of a run names; the catalog says where the report goes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str | None = Field(default=None, min_length=1)
    model_name: str | None = Field(default=None, min_length=1)
    data_name: str | None = Field(default=None, min_length=1)
    mount: str | None = Field(default=None, min_length=1)
    language: str = "en"
    worst_cells: int = Field(default=12, ge=1)
    max_classes: int = Field(default=30, ge=1)
    max_rows: int = Field(default=400, ge=1)
    name_length: int = Field(default=40, ge=3)
    report_path: str = Field(default="data/08_reporting/report.html", min_length=1)

    @field_validator("language")
    @classmethod
    def _has_texts(cls, language: str) -> str:
        if language not in available_languages():
            raise ValueError(
                f"there are no texts for '{language}'; choose one of {available_languages()}"
            )
        return language


def worst_first(cells: Iterable[Cell], levels: Sequence[str] = LEVELS) -> list[Cell]:
    """Give the cells of ``levels`` by evidence, see `MeasuredCell.rank`; ties keep their order."""
    return sorted((cell for cell in cells if cell.level in levels), key=lambda cell: cell.rank)


@dataclass(frozen=True, kw_only=True)
class AuditTables:
    """What figures are drawn from."""

    worst_case_table: pd.DataFrame
    scores: pd.DataFrame
    group_definitions: GroupDefinitions

    @property
    def of(self) -> str:
        """What texts speak of, see `load_texts`."""
        return "images"

    @cached_property
    def cells(self) -> list[SpreadCell]:
        """The cells of ``worst_case_table``, in its order; a missing column is an `InputError`."""
        return SpreadCell.of_table(self.worst_case_table)

    @property
    def averages(self) -> list[SpreadCell]:
        """The cells of the average, in the order of the table."""
        return [cell for cell in self.cells if cell.level == "average"]

    @property
    def classes(self) -> list[str]:
        """The classes in label order."""
        return list(self.group_definitions.classes)

    @property
    def shifts(self) -> list[str]:
        """Each shift once, ``clean`` first and the others as they first appear."""
        seen = dict.fromkeys(str(name) for name in self.scores["shift"])
        return sorted(seen, key=lambda name: name != CLEAN)

    @property
    def groups(self) -> list[tuple[str, str]]:
        """Level and label of the average, the classes in label order, and the segments."""
        segments = dict(sorted(self.group_definitions.segments.items()))
        known = self.group_definitions.model_copy(update={"segments": segments})
        return [(level, each.label) for level in LEVELS[:3] for each in known.ids(level)]

    @cached_property
    def in_group_order(self) -> list[SpreadCell]:
        """The cells by level, then label order, then shift; unknown groups by name at last."""
        place = {key: index for index, key in enumerate(self.groups)} | self._by_first_class()
        column = {shift: index for index, shift in enumerate(self.shifts)}

        def position(cell: SpreadCell) -> tuple[int, int, str, int]:
            where = place.get(cell.key.of, len(place))
            level = LEVELS.index(cell.level)
            return level, where, cell.group, column.get(cell.shift, len(column))

        return sorted(self.cells, key=position)

    def _by_first_class(self) -> dict[tuple[str, str], int]:
        """Give the place of its class for each intersection with a class that has a cell."""
        wanted = {cell.group for cell in self.cells if cell.level == "intersection"}
        places = {name: index for index, name in enumerate(self.classes)}
        found: dict[tuple[str, str], int] = {}
        for each in self.group_definitions.ids("intersection") if wanted else ():
            if each.label in wanted and each.columns[0] == CLASS_COLUMN:
                found["intersection", each.label] = places[each.values[0]]
            if len(found) == len(wanted):
                break
        return found

    def worst_of_each_level(self, each: int) -> list[SpreadCell]:
        """Give the judged groups that are worst by evidence, every group under its worst shift.

        Of each level but the average at most ``each``, all together by evidence.
        """
        first: dict[tuple[str, str], SpreadCell] = {}
        for cell in worst_first(self.cells):
            if cell.judged:
                first.setdefault(cell.key.of, cell)
        levels = [[cell for cell in first.values() if cell.level == level] for level in LEVELS[1:]]
        return worst_first(cell for level in levels for cell in level[:each])

    def classes_to_show(self, most: int) -> list[str]:
        """Give the classes to draw in label order: all, or the ``most`` that lose most."""
        if len(self.classes) <= most:
            return self.classes
        ranked = dict.fromkeys(cell.group for cell in worst_first(self.cells, (CLASS_LEVEL,)))
        kept = set(list(ranked)[:most])
        return [name for name in self.classes if name in kept]

    def class_drops(self) -> pd.DataFrame:
        """Give ``shift, group, draw, drop`` of the class rows that are evidence (audit split)."""
        rows = self.scores.query("role == 'evidence' and split == 'audit' and level == 'class'")
        return rows[["shift", "group", "draw", "drop"]].reset_index(drop=True)

    def strategy_drops(self) -> pd.DataFrame:
        """Compare strategies on the selection split, one row per trial, the recipe's own first.

        Returns:
            Columns ``trial_id, strategy, role, draw, average_drop, worst_class_drop, worst_class,
            worst_shift, n``; ``average_drop`` is that of clean images, ``worst_class_drop`` the
            largest over classes and shifts, ``n`` the images of the average.
        """
        rows = self.scores[self.scores["split"] == "selection"]
        average = rows[(rows["level"] == "average") & (rows["shift"] == CLEAN)]
        classes = rows[rows["level"] == CLASS_LEVEL].sort_values(
            ["trial_id", "drop", "group", "shift"], ascending=[True, False, True, True]
        )
        worst = classes.groupby("trial_id", sort=True).head(1)
        table = average[["trial_id", "strategy", "role", "draw", "drop", "n"]].rename(
            columns={"drop": "average_drop"}
        )
        named = worst[["trial_id", "drop", "group", "shift"]].rename(
            columns={"drop": "worst_class_drop", "group": "worst_class", "shift": "worst_shift"}
        )
        table = table.merge(named, on="trial_id", how="left")
        order = ["role", "strategy", "draw", "trial_id"]
        # Of the roles, evidence comes before comparison.
        return table.sort_values(order, ascending=[False, True, True, True], ignore_index=True)


@dataclass(frozen=True, kw_only=True)
class AuditResults(AuditTables):
    """Everything the report shows: documents, and tables as in the data contract.

    What may be missing has a default, which means that there is nothing to show.
    ``candidate_speed``, ``decision_log`` and ``machine`` differ from machine to machine and from
    day to day; everything else is the same for the same audit. ``parameters`` holds the settings of
    the audit by group (``quantization``, ``calibration``, ``stress``) as plain JSON values; they
    are shown and not interpreted, but for the bit-widths.
    """

    verdict: Verdict
    decision: Decision
    calibration_set_index: pd.DataFrame
    calibration_validation: pd.DataFrame
    parity: pd.DataFrame
    drift_table: pd.DataFrame
    trials: pd.DataFrame
    parameters: Mapping[str, Any]
    champion_comparison: Comparison | None = None
    candidate_execution: Execution | None = None
    candidate_speed: CandidateSpeed | None = None
    lost_images: LostImages | None = None
    detector: DetectorFigures | None = None
    worst_group_layers: pd.DataFrame = field(default_factory=pd.DataFrame)
    decision_log: Sequence[Mapping[str, Any]] = ()
    machine: Mapping[str, Any] = field(default_factory=dict)

    @property
    def of(self) -> str:
        """What texts speak of, see `load_texts`."""
        return what_is_judged(self.verdict)

    @property
    def quick_look(self) -> bool:
        """Whether this audit could refuse and not approve: few draws, or representative groups."""
        recipe = self.verdict.recipe
        if self.verdict.source is not None:
            return False
        split = split_budget(max(1, recipe.draws), recipe.p0, recipe.alpha)
        return bool(self.verdict.representatives) or not split.pass_possible

    @property
    def recipe(self) -> Mapping[str, Any]:
        """How the model was quantized; empty where another tool did it."""
        return self.parameters.get("quantization", {})

    @property
    def method(self) -> Mapping[str, Any]:
        """The method with all its options, as trials record it; empty where another tool did it."""
        given = self.recipe.get("method", {})
        recorded = (json.loads(each).get("method") for each in self.trials.get("spec", ()))
        return {**next(filter(None, recorded), {}), **given} if given else {}

    @property
    def measured_at(self) -> str | None:
        """When the candidate was made (ISO 8601); the documents themselves hold no time."""
        return self.candidate_speed.measured_at if self.candidate_speed else None

    @property
    def float_model(self) -> str:
        """The hash of the float model; empty where no trial names it."""
        specs = self.trials.get("spec", pd.Series(dtype=str))
        return str(json.loads(specs.iloc[0]).get("model", "")) if len(specs) else ""

    def status_of(self, cell: CellDocument) -> Status:
        """What is shown of the candidate in a cell."""
        found = (each.status for each in self.verdict.candidate.cells if each.key == cell.key)
        return next(found, "not_judged")

    def cell(self, key: CellKey) -> SpreadCell | None:
        """One cell of the table; None where it has none."""
        return next((cell for cell in self.cells if cell.key == key), None)

    def check(self) -> None:
        """Check that all parts come from one audit.

        Raises:
            InputError: If two of the parts contradict each other; the message names both and the
                pipeline to run again.
        """
        verdict, comparison = self.verdict, self.champion_comparison
        if self.decision.verdict_hash != verdict.hash:
            raise InputError(
                "decision.json was not made from this verdict.json (their verdict hashes differ); "
                "run the pipelines worst_case_check and promotion again."
            )
        if comparison is not None and self.decision.comparison_hash != comparison.hash:
            raise InputError(
                "decision.json was not made from this champion_comparison.json (their hashes "
                "differ); run the pipelines worst_case_check and promotion again."
            )
        if _drops(verdict.candidate.cells) != _drops(self.cells):
            raise InputError(
                "worst_case_table does not hold the cells of verdict.json, so they come from two "
                "audits; run the pipeline worst_case_check again."
            )
        self._check_candidate()
        self._check_classes()

    def _check_candidate(self) -> None:
        trial = self.verdict.candidate.trial_id
        if trial is not None and trial not in set(self.scores["trial_id"]):
            raise InputError(
                f"The verdict's candidate {trial!r} has no rows in the scores, so they come from "
                "two audits; run the pipelines from subgroup_scoring on again."
            )
        for name, pipeline, document in (
            ("candidate_execution", "promotion", self.candidate_execution),
            ("candidate_speed", "promotion", self.candidate_speed),
            ("lost_images", "reporting", self.lost_images),
            ("detector", "reporting", self.detector),
        ):
            if document is not None and document.trial_id != trial:
                raise InputError(
                    f"{name}.json is about trial {document.trial_id!r}, the verdict's candidate is "
                    f"{trial!r}, so they come from two audits; run the pipeline {pipeline} again."
                )

    def _check_classes(self) -> None:
        """Check the order of the classes, which is the label order in every document."""
        # Under each shift alone: a class may have cells under some shifts only.
        by_shift: dict[str, list[str]] = {}
        for cell in self.verdict.candidate.cells:
            if cell.level == CLASS_LEVEL:
                by_shift.setdefault(cell.shift, []).append(cell.group)
        for judged in by_shift.values():
            if judged != [name for name in self.classes if name in set(judged)]:
                raise InputError(
                    "group_definitions.json lists the classes as "
                    f"{', '.join(self.classes[:4])} ..., verdict.json as "
                    f"{', '.join(judged[:4])} ...: the class list was changed or put in another "
                    "order after the audit; run the audit again."
                )


def _drops(cells: Iterable[MeasuredCell]) -> dict[CellKey, tuple[int, float]]:
    # Rounding guards against writers that do not keep every digit of a double.
    return {cell.key: (cell.n, round(cell.drop, 12)) for cell in cells}
