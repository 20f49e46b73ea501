"""The audit as a comment on a pull request: Markdown with the answer first."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from ptq_pipeline.reporting import frames
from ptq_pipeline.reporting.formatting import clean_text, count, points, shorten
from ptq_pipeline.reporting.texts import Texts, load_texts
from ptq_pipeline.reporting.wording import interval_words, not_judged, said, shift_name

MOST_ROWS = 8
MOST_REASONS = 5
_NAME_LENGTH = 60
_SPECIAL = str.maketrans({char: f"\\{char}" for char in "\\`*_{}[]<>()#+!|~@"})


def escaped(text: object, length: int | None = None) -> str:
    """Give one line that Markdown shows as it is, also where a group is called ``|<b>|``."""
    line = clean_text(text) if length is None else shorten(text, length)
    return line.translate(_SPECIAL)


def pull_request_summary(
    verdict: Mapping[str, Any],
    decision: Mapping[str, Any],
    worst_case_table: pd.DataFrame,
    language: str = "en",
) -> str:
    """Write the Markdown summary of one audit.

    Args:
        verdict: content of ``verdict.json``.
        decision: content of ``decision.json``.
        worst_case_table: cells of the candidate and of the draws.
        language: language of the texts.

    Returns:
        Markdown for GitHub and GitLab; names of groups cannot mark anything up or call anybody.
    """
    texts = load_texts(language)
    headline = said(texts, str(verdict.get("headline") or ""), verdict.get("headline_sentence"))
    lines = [
        f"## {texts('pull_request.title')}: {texts('badge.' + str(verdict['result']))}",
        "",
        f"**{texts('answer.' + str(decision['decision']))}** "
        + escaped(headline.removeprefix(f"{verdict['result']}: ")),
        "",
        *worst_rows(texts, worst_case_table, MOST_ROWS),
        "",
    ]
    if unjudged := not_judged(texts, verdict):
        lines += [escaped(unjudged), ""]
    # Recipe and candidate often have the same reason.
    by_text = {str(reason["text"]): reason for reason in decision.get("reasons") or ()}
    reasons = list(by_text.values())
    for reason in reasons[:MOST_REASONS]:
        lines.append(f"- {escaped(said(texts, str(reason['text']), reason.get('sentence')))}")
    if len(reasons) > MOST_REASONS:
        lines.append(f"- {texts('pull_request.more', n=len(reasons) - MOST_REASONS)}")
    audit = texts(
        "pull_request.audit",
        verdict=str(decision.get("verdict_hash"))[:12],
        decision=str(decision.get("decision_hash"))[:12],
    )
    return "\n".join([*lines, "", f"<sub>{audit}</sub>", ""])


def worst_rows(texts: Texts, worst_case_table: pd.DataFrame, most: int) -> list[str]:
    """Give a Markdown table of the judged cells that lose most, and of the average."""
    cells = frames.group_cells(worst_case_table)
    ranked = [cell for cell in frames.worst_first(cells) if cell.level != "average"]
    average = [cell for cell in cells if cell.level == "average"]
    keys = ("group", "shift", "n", "drop_mean", "drop_worst", "drop", "interval", "limit", "status")
    rows = [
        f"{texts('pull_request.table')}:",
        "",
        "| " + " | ".join(texts(f"column.{key}") for key in keys) + " |",
        "|" + " --- |" * 2 + " ---: |" * 6 + " --- |",
    ]
    for cell in [*[cell for cell in ranked if cell.judged][:most], *average]:
        name = texts("group.all_images") if cell.level == "average" else cell.group
        values = (
            escaped(name, _NAME_LENGTH),
            escaped(shift_name(texts, cell.shift)),
            count(cell.n),
            points(cell.mean_drop),
            points(cell.worst_drop),
            points(cell.drop),
            interval_words(texts, cell.interval),
            points(cell.limit),
            texts(f"status.{cell.status}"),
        )
        rows.append("| " + " | ".join(values) + " |")
    return rows
