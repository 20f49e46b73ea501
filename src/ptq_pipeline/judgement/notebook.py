"""A verdict as a notebook shows it: the result, its headline, and the groups that lose most."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from ptq_pipeline.judgement.candidate import JudgedCell
from ptq_pipeline.judgement.sentences import Reason, group_name, points

MOST_ROWS = 8
_HEADINGS = ("group", "shift", "n", "drop", "limit", "lost", "gained", "shown")


def verdict_html(
    headline: str, statement: str, *, cells: Sequence[JudgedCell], reasons: Sequence[Reason]
) -> str:
    """Give an HTML fragment without script or style sheet; names cannot mark anything up.

    Args:
        headline: The result in a sentence.
        statement: What the draws show of the recipe.
        cells: The candidate's, in any order.
        reasons: Why it is not PASS.
    """
    cells = sorted(cells, key=lambda cell: -cell.drop)
    worst = [cell for cell in cells if cell.judged and cell.level != "average"][:MOST_ROWS]
    average = [cell for cell in cells if cell.level == "average"]
    rows = [
        (
            group_name(cell.level, cell.group),
            cell.shift,
            f"{cell.n:,}",
            points(cell.drop),
            "" if cell.limit is None else points(cell.limit),
            f"{cell.lost:,}",
            f"{cell.gained:,}",
            cell.status.replace("_", " "),
        )
        for cell in (*worst, *average)
    ]
    items = "".join(f"<li>{escape(reason.text)}</li>" for reason in reasons[:MOST_ROWS])
    return (
        f"<p><strong>{escape(headline)}</strong></p>"
        f"<p>{escape(statement)}</p>"
        f"<table><thead>{_row(_HEADINGS, 'th')}</thead>"
        f"<tbody>{''.join(_row(row, 'td') for row in rows)}</tbody></table><ul>{items}</ul>"
    )


def _row(values: Sequence[str], tag: str) -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(value)}</{tag}>" for value in values) + "</tr>"
