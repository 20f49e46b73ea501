"""Tables of the report as data: columns with a kind, rows with values, no markup."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ptq_pipeline.core.documents import CellDocument
from ptq_pipeline.judgement.scope import UnjudgedGroup
from ptq_pipeline.judgement.sentences import Reason
from ptq_pipeline.judgement.summary import SpreadCell
from ptq_pipeline.reporting.texts import Texts
from ptq_pipeline.reporting.wording import at_floor_words, said, shift_name


@dataclass(frozen=True)
class Column:
    """A column: ``key`` into a row's values, and how values are shown.

    ``kind`` is one of text, name, points, percent, count, number, interval, or reading: a pair of
    another kind and a value.
    """

    key: str
    label: str
    kind: str = "text"

    @property
    def numeric(self) -> bool:
        """Whether values are aligned to the right."""
        return self.kind not in ("text", "name")


@dataclass(frozen=True)
class Row:
    """Values of one row by column key; ``mark`` is a style: plain, bad, hatched, strong."""

    values: Mapping[str, Any]
    mark: str = "plain"


@dataclass(frozen=True)
class Table:
    """A table with a caption; ``left_out`` says how many rows a limit cut off."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...] = field(default=())
    left_out: int = 0


def make_table(
    texts: Texts,
    caption: str,
    columns: Sequence[tuple[str, str]],
    rows: Sequence[Row],
    max_rows: int | None = None,
) -> Table:
    """Build a table whose headings are the texts ``column.<key>``.

    Args:
        texts: Texts of one language.
        caption: Shown above the table, says n or what a row is.
        columns: Pairs ``(key, kind)``.
        rows: All rows; those beyond ``max_rows`` are counted, not shown.
        max_rows: Largest number of rows to show; all when ``None``.
    """
    shown = rows if max_rows is None else rows[:max_rows]
    return Table(
        caption,
        tuple(Column(key, texts(f"column.{key}"), kind) for key, kind in columns),
        tuple(shown),
        len(rows) - len(shown),
    )


def worst_first_if_long(rows: list[Row], badness: str, max_rows: int) -> list[Row]:
    """Leave rows in their order while all fit; else put the worst first, so that they are shown."""
    if len(rows) <= max_rows:
        return rows
    return sorted(rows, key=lambda row: -abs(row.values[badness] or 0))


CELL_COLUMNS = (
    ("group", "name"),
    ("shift", "text"),
    ("n", "count"),
    ("drop_mean", "points"),
    ("drop_worst", "points"),
    ("limit", "points"),
    ("drop", "points"),
    ("interval", "interval"),
    ("status", "text"),
    ("float_accuracy", "percent"),
    ("quantized_accuracy", "percent"),
    ("lost", "count"),
    ("gained", "count"),
    ("flips", "count"),
)


# Columns that show a figure of the cell as it is.
_PLAIN = (
    *("n", "drop_mean", "drop", "interval", "limit", "float_accuracy", "quantized_accuracy"),
    *("lost", "gained", "flips"),
)


def cell_group(texts: Texts, cell: CellDocument) -> str:
    """Name the group of a cell in a table."""
    return texts("group.all_images") if cell.level == "average" else cell.group


def cell_row(texts: Texts, cell: SpreadCell) -> Row:
    """Give the row of one cell; not judged is hatched, over the limit is bad."""
    status = texts(f"status.{cell.status}")
    if cell.critical:
        status = texts("status.with_critical", status=status)
    values = {
        "group": cell_group(texts, cell),
        "shift": shift_name(texts, cell.shift),
        "drop_worst": cell.drop_max,
        "status": status,
        **{key: getattr(cell, key) for key in _PLAIN},
    }
    if not cell.judged:
        return Row(values, "hatched")
    return Row(values, "bad" if cell.over_limit or cell.status == "shown_bad" else "plain")


def cell_table(
    texts: Texts, caption: str, cells: Sequence[SpreadCell], max_rows: int | None = None
) -> Table:
    """Build the worst-case table for ``cells`` in their order."""
    rows = [cell_row(texts, cell) for cell in cells]
    return make_table(texts, caption, CELL_COLUMNS, rows, max_rows)


def reasons_table(
    texts: Texts,
    caption: str,
    reasons: Sequence[Reason],
    max_rows: int | None = None,
) -> Table:
    """Build a table of reasons of the verdict; ``caption`` is the key of its text."""
    rows = [
        Row(
            {
                "text": said(texts, reason.text, reason.sentence),
                "rule": reason.rule,
                "group": reason.group,
                "shift": shift_name(texts, reason.shift) if reason.shift else None,
                "observed": _reading(reason, reason.observed),
                "interval": reason.interval,
                "limit": _reading(reason, reason.limit, is_limit=True),
                "n": reason.n,
            }
        )
        for reason in reasons
    ]
    columns = (
        ("text", "text"),
        ("rule", "name"),
        ("group", "name"),
        ("shift", "text"),
        ("observed", "reading"),
        ("interval", "interval"),
        ("limit", "reading"),
        ("n", "count"),
    )
    return make_table(texts, texts(caption), columns, rows, max_rows)


def _reading(
    reason: Reason, value: float | None, is_limit: bool = False
) -> tuple[str, float | None]:
    """Give a value with its kind: rules of the recipe count draws, all others measure drops."""
    if reason.rule == "float_floor":
        return "percent", value
    if not reason.rule.startswith("recipe."):
        return "points", value
    # The largest acceptable share of bad draws is the one fraction among the counts.
    is_share = is_limit and value is not None and 0 < value < 1
    return ("percent" if is_share else "number"), value


def why_not_judged(texts: Texts, group: UnjudgedGroup) -> str:
    """Say why a group of ``groups_not_judged`` is not judged."""
    words = [at_floor_words(texts, each.shift, each.float_accuracy) for each in group.at_floor]
    if group.too_few:
        words.insert(0, texts("unjudged.too_few"))
    return texts("unjudged.joiner").join(words)


def not_judged_table(texts: Texts, groups: Sequence[UnjudgedGroup], max_rows: int) -> Table:
    """Build the table of groups that are not judged, and why."""
    rows = [
        Row(
            {
                "group": group.group,
                "level": texts(f"level.{group.level}"),
                "n": group.n,
                "needed_n": group.needed_n,
                "limit": group.limit,
                "why": why_not_judged(texts, group),
                "blocks": texts("word.yes" if group.blocks or group.critical else "word.no"),
            },
            "hatched",
        )
        for group in groups
    ]
    columns = (
        ("group", "name"),
        ("level", "text"),
        ("n", "count"),
        ("needed_n", "count"),
        ("limit", "points"),
        ("why", "text"),
        ("blocks", "text"),
    )
    return make_table(texts, texts("not_judged.caption"), columns, rows, max_rows)
