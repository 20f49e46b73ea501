"""The audit as a comment on a pull request: Markdown with the answer first."""

import pandas as pd

from ptq_pipeline.judgement.decision import Decision
from ptq_pipeline.judgement.summary import SpreadCell
from ptq_pipeline.judgement.verdict import Verdict
from ptq_pipeline.reporting import frames
from ptq_pipeline.reporting.formatting import clean_text, count, points, shorten
from ptq_pipeline.reporting.tables import cell_group
from ptq_pipeline.reporting.texts import Texts, load_texts
from ptq_pipeline.reporting.wording import headline, interval_words, not_judged, said, shift_name

MOST_ROWS = 8
MOST_REASONS = 5
_NAME_LENGTH = 60
_SPECIAL = str.maketrans({char: f"\\{char}" for char in "\\`*_{}[]<>()#+!|~@"})


def escaped(text: object, length: int | None = None) -> str:
    """Give one line that Markdown shows as it is, also where a group is called ``|<b>|``."""
    line = clean_text(text) if length is None else shorten(text, length)
    return line.translate(_SPECIAL)


def pull_request_summary(
    verdict: Verdict,
    decision: Decision,
    worst_case_table: pd.DataFrame,
    language: str = "en",
) -> str:
    """Write the Markdown summary of one audit.

    Args:
        verdict: the verdict.
        decision: what was decided.
        worst_case_table: cells of the candidate and of the draws.
        language: language of the texts.

    Returns:
        Markdown for GitHub and GitLab; names of groups cannot mark anything up or call anybody.
    """
    texts = load_texts(language)
    lines = [
        f"## {texts('pull_request.title')}: {texts('badge.' + verdict.result)}",
        "",
        f"**{texts('answer.' + decision.outcome)}** " + escaped(headline(texts, verdict)),
        "",
        *worst_rows(texts, worst_case_table, MOST_ROWS),
        "",
    ]
    if unjudged := not_judged(texts, verdict):
        lines += [escaped(unjudged), ""]
    # Recipe and candidate often have the same reason.
    reasons = list({reason.text: reason for reason in decision.reasons}.values())
    for reason in reasons[:MOST_REASONS]:
        lines.append(f"- {escaped(said(texts, reason.text, reason.sentence))}")
    if len(reasons) > MOST_REASONS:
        lines.append(f"- {texts('pull_request.more', n=len(reasons) - MOST_REASONS)}")
    audit = texts(
        "pull_request.audit", verdict=decision.verdict_hash[:12], decision=decision.hash[:12]
    )
    return "\n".join([*lines, "", f"<sub>{audit}</sub>", ""])


def worst_rows(texts: Texts, worst_case_table: pd.DataFrame, most: int) -> list[str]:
    """Give a Markdown table of the judged cells that lose most, and of the average."""
    cells = SpreadCell.of_table(worst_case_table)
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
        values = (
            escaped(cell_group(texts, cell), _NAME_LENGTH),
            escaped(shift_name(texts, cell.shift)),
            count(cell.n),
            points(cell.drop_mean),
            points(cell.drop_max),
            points(cell.drop),
            interval_words(texts, cell.interval),
            points(cell.limit),
            texts(f"status.{cell.status}"),
        )
        rows.append("| " + " | ".join(values) + " |")
    return rows
