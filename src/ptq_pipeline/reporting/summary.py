"""The lines that end a run: decision, worst group, the report, what is not judged."""

from collections.abc import Mapping
from typing import Any

from ptq_pipeline.reporting.texts import load_texts
from ptq_pipeline.reporting.wording import (
    cell_sentence,
    draws_behind,
    drop_words,
    main_drop,
    not_judged,
)


def three_lines(
    verdict: Mapping[str, Any],
    decision: Mapping[str, Any],
    report_path: object,
    language: str = "en",
) -> list[str]:
    """Say the outcome of an audit in a few lines of plain text, without markup.

    Args:
        verdict: Content of ``verdict.json``.
        decision: Content of ``decision.json``.
        report_path: Where the reader finds the report; shown as it is.
        language: Language of the texts.

    Returns:
        The decision, the worst group beside the average, and the report; last a line that names
        classes and segments that are not judged, where there are some.
    """
    texts = load_texts(language)
    result = str(verdict["result"])
    lines = [texts(f"lines.decision.{decision['decision']}", result=result)]
    worst = verdict.get("worst")
    average = verdict.get("average") or {}
    draws = draws_behind(verdict)
    if worst:
        lines.append(
            texts(
                "lines.worst",
                sentence=cell_sentence(texts, worst, draws),
                average=drop_words(texts, main_drop(average)),
            )
        )
    else:
        lines.append(texts("lines.no_worst"))
    lines.append(texts("lines.report", path=str(report_path)))
    if unjudged := not_judged(texts, verdict):
        lines.append(unjudged)
    return lines
