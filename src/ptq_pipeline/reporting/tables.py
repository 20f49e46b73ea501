"""Tables of the report as data: columns with a kind, rows with values, no markup."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ptq_pipeline.judgement.candidate import MeasuredCell
from ptq_pipeline.judgement.judged_groups import UnjudgedGroup
from ptq_pipeline.judgement.sentences import Reason
from ptq_pipeline.reporting.formats import clean_text, shorten
from ptq_pipeline.reporting.results import AuditResults, ReportingParameters
from ptq_pipeline.reporting.states import STATES
from ptq_pipeline.reporting.texts import Reading, Texts

# How a column shows its values, by its key; all others are text.
KINDS = {
    key: kind
    for kind, keys in {
        "name": "group rule strategy class_named answer error expectation column class file layer "
        "what replaces by record window audit object_size",
        "points": "drop_mean drop_worst drop observed limit average_mean average_worst class_mean "
        "class_worst difference drop_difference break_even_drop loss_to_champion tolerance "
        "drop_before drop_now change worst_drop",
        "percent": "float_accuracy quantized_accuracy rejected_share agreement error_group "
        "error_all clip_group clip_all share champion_accuracy candidate_accuracy float_recall "
        "recall recall_there",
        "count": "n lost gained flips needed_n draws trials failed size drawn rejected checked "
        "raised different kib images_per_second errors_added loss sequence",
        "number": "observed_median threshold value latency_ms error_cost float_alarms alarms "
        "alarms_there added_alarms float_ap50 ap50 float_ap ap",
        "interval": "interval",
        "count_interval": "errors_interval loss_interval",
    }.items()
    for key in keys.split()
}
_NAME_LENGTH = 60
_SPECIAL = str.maketrans({char: f"\\{char}" for char in "\\`*_{}[]<>()#+!|~@"})


@dataclass(frozen=True)
class Column:
    """A column: ``key`` into a row's values, its heading, and the kind of its values."""

    key: str
    label: str
    kind: str

    @property
    def numeric(self) -> bool:
        """Whether values are aligned to the right."""
        return self.kind not in ("text", "name")


@dataclass(frozen=True)
class Row:
    """Values of one row by column key; ``mark`` is a style: plain, strong, or one of `STATES`."""

    values: Mapping[str, Any]
    mark: str = "plain"


@dataclass(frozen=True)
class Table:
    """A table with a caption; ``left_out`` says how many rows a limit cut off."""

    caption: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    left_out: int = 0

    @property
    def size(self) -> int:
        """How many rows there are, with those that are left out."""
        return len(self.rows) + self.left_out


@dataclass(frozen=True)
class Part:
    """A part of the page: what its template shows of one audit."""

    audit: AuditResults
    options: ReportingParameters
    texts: Texts

    def table(
        self,
        caption: str,
        rows: Sequence[Row],
        keys: Sequence[str] = (),
        most: int | None = None,
        **kinds: str,
    ) -> Table:
        """Build a table.

        Args:
            caption: Shown above the table, says n or what a row is.
            rows: All rows; those beyond ``most`` are counted, not shown.
            keys: The columns; all values of the rows when left out.
            most: Rows to show; the largest number of any table when left out.
            **kinds: Of columns that show another kind than :data:`KINDS` says.
        """
        shown = rows[: self.options.max_rows if most is None else most]
        columns = columns_of(self.texts, keys or (rows[0].values if rows else ()), kinds)
        return Table(caption, columns, shown, len(rows) - len(shown))

    def worst_first_if_long(self, rows: list[Row], badness: str) -> list[Row]:
        """Leave rows in order while all fit; else put the worst first, so that they are shown."""
        if len(rows) <= self.options.max_rows:
            return rows
        return sorted(rows, key=lambda row: -abs(row.values[badness] or 0))

    def reasons_table(self, caption: str, reasons: Sequence[Reason]) -> Table:
        """Build a table of reasons; ``caption`` is the key of its text."""
        rows = [
            Row(
                {
                    "text": self.texts.said(reason.text, reason.sentence),
                    "rule": reason.rule,
                    "group": self.texts("group.all_images")
                    if reason.level == "average"
                    else reason.group,
                    "shift": self.texts.shift_name(reason.shift) if reason.shift else None,
                    "observed": _reading(reason, reason.observed),
                    "interval": reason.interval,
                    "limit": _reading(reason, reason.limit, is_limit=True),
                    "n": reason.n,
                }
            )
            for reason in reasons
        ]
        return self.table(self.texts(caption), rows)


def columns_of(
    texts: Texts, keys: Iterable[str], kinds: Mapping[str, str] | None = None
) -> list[Column]:
    """Give columns by their keys; ``kinds`` are those that differ from :data:`KINDS`."""
    known = {**KINDS, **(kinds or {})}
    return [Column(key, texts(f"column.{key}"), known.get(key, "text")) for key in keys]


def _reading(reason: Reason, value: float | None, is_limit: bool = False) -> Reading:
    """Give a value with its kind: rules of the recipe count draws, all others measure drops."""
    if reason.rule == "float_floor":
        return Reading("percent", value)
    if not reason.rule.startswith("recipe."):
        return Reading("points", value)
    # The largest acceptable share of bad draws is the one fraction among the counts.
    is_share = is_limit and value is not None and 0 < value < 1
    return Reading("percent" if is_share else "number", value)


def cell_values(texts: Texts, cell: MeasuredCell) -> dict[str, Any]:
    """Give the figures of a cell by column, with group, shift and status in words."""
    words = {
        "group": texts("group.all_images") if cell.level == "average" else cell.group,
        "shift": texts.shift_name(cell.shift),
        "status": f"{STATES[cell.status].glyph} {texts(f'status.{cell.status}')}",
    }
    return {**cell.model_dump(by_alias=True), **words}


def why_not_judged(texts: Texts, group: UnjudgedGroup) -> str:
    """Say why a group of ``groups_not_judged`` is not judged."""
    words = [texts.at_floor(each.shift, each.float_accuracy) for each in group.at_floor]
    if group.too_few:
        words.insert(0, texts("unjudged.too_few"))
    return texts("unjudged.joiner").join(words)


def escaped(text: object, length: int | None = None) -> str:
    """Give one line that Markdown shows as it is, also where a group is called ``|<b>|``."""
    line = clean_text(text) if length is None else shorten(text, length)
    return line.translate(_SPECIAL)


def markdown_table(
    texts: Texts, keys: Sequence[str], rows: Iterable[Mapping[str, Any]]
) -> list[str]:
    """Give the lines of a Markdown table: the columns ``keys`` of ``rows``."""
    columns = columns_of(texts, keys)
    lines = [
        "| " + " | ".join(column.label for column in columns) + " |",
        "| " + " | ".join("---:" if column.numeric else "---" for column in columns) + " |",
    ]
    for row in rows:
        shown = [texts.shown(row[column.key], column.kind, digits=1) for column in columns]
        values = [
            text
            if column.numeric
            else escaped(text, _NAME_LENGTH if column.kind == "name" else None)
            for column, text in zip(columns, shown, strict=True)
        ]
        lines.append("| " + " | ".join(values) + " |")
    return lines
