"""Sentences about groups, shifts and drops, shared by the report and the terminal lines."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ptq_pipeline.reporting.formatting import (
    MISSING,
    count,
    interval,
    is_missing,
    plain_name,
    points,
    shorten,
)
from ptq_pipeline.reporting.texts import Texts

NAME_LENGTH = 40


def group_words(texts: Texts, level: str, group: str, length: int = NAME_LENGTH) -> str:
    """Name a group with its kind, for example ``class Sandal`` or ``all images``."""
    key = f"group.{level}"
    return texts(key if key in texts else "group.other", group=shorten(group, length))


def shift_words(texts: Texts, shift: str) -> str:
    """Name a shift as part of a sentence, for example ``under gaussian noise``."""
    if shift == "clean":
        return texts("shift.clean")
    return texts("shift.other", shift=identifier_name(texts, shift))


def shift_name(texts: Texts, shift: str) -> str:
    """Name a shift as a heading, for example ``gaussian noise``."""
    return texts("shift.clean_name") if shift == "clean" else identifier_name(texts, shift)


def identifier_name(texts: Texts, identifier: object) -> str:
    """Give an identifier of this package in the reader's words, any other one as plain words."""
    key = f"names.{identifier}"
    return texts(key) if key in texts else plain_name(identifier)


def interval_words(texts: Texts, bounds: Sequence[float | None] | None, digits: int = 1) -> str:
    """Show an interval in points as the language does."""
    return interval(bounds, digits, texts.template("format.interval"))


_PLACE = re.compile(
    r"(?:the (?P<average>average)|(?P<level>class|segment|intersection) (?P<group>.+?))"
    r"(?: under (?P<shift>\S+))?"
)


def localised(texts: Texts, sentence: str) -> str:
    """Say a sentence of the verdict in the reader's language.

    The statistics write English, which verdict and decision keep and hash. A sentence that no
    pattern of the language matches stays as it is: English is better than nothing.
    """
    for pattern, template in texts.sentences:
        if found := pattern.fullmatch(sentence):
            values = {
                name: MISSING
                if value is None
                else _place(texts, value)
                if name in ("cell", "group")
                else value
                for name, value in found.groupdict().items()
            }
            return template.format(**values)
    return sentence


def _place(texts: Texts, words: str) -> str:
    found = _PLACE.fullmatch(words)
    if found is None:
        return words
    level = found["level"] or "average"
    name = group_words(texts, level, found["group"] or "", length=200)
    return name if found["shift"] is None else f"{name}（{shift_name(texts, found['shift'])}）"


def main_drop(cell: Mapping[str, Any]) -> float | None:
    """Give the drop to speak of first: the mean over draws, else the candidate's own."""
    mean = cell.get("drop_mean_over_draws")
    return cell.get("candidate_drop") if is_missing(mean) else mean


def draws_behind(verdict: Mapping[str, Any]) -> int | None:
    """Give the number of finished draws that the means of the verdict are taken over."""
    spread = verdict.get("draw_spread") or ()
    if spread:
        return int(spread[0]["draws"])
    return (verdict.get("recipe") or {}).get("distinct_draws")


def drop_words(texts: Texts, drop: float | None) -> str:
    """Say a drop in words: ``loses 8.8 points``, ``gains 0.1 points``, ``loses nothing``."""
    if is_missing(drop):
        return texts("drop.unknown")
    shown = points(abs(drop))  # type: ignore[arg-type]
    if shown == points(0.0):
        return texts("drop.none")
    return texts("drop.loses" if drop > 0 else "drop.gains", points=shown)  # type: ignore[operator]


def cell_sentence(texts: Texts, cell: Mapping[str, Any], draws: int | None) -> str:
    """Say in one sentence what a cell of the verdict (``worst`` or ``average``) loses.

    Args:
        texts: Texts of one language.
        cell: An entry of the verdict with ``drop_mean_over_draws``, ``drop_worst_draw``,
            ``candidate_drop``, ``limit`` and ``n``; ``level`` and ``group`` may be absent for the
            average.
        draws: Number of draws behind the mean, if there are any.
    """
    subject = group_words(texts, cell.get("level", "average"), cell.get("group", "all"))
    values = {
        "subject": subject[:1].upper() + subject[1:],
        "shift": shift_words(texts, cell.get("shift", "clean")),
        "drop": drop_words(texts, main_drop(cell)),
        "worst": points(cell.get("drop_worst_draw")),
        "limit": points(cell.get("limit")),
        "count": count(cell.get("n")),
    }
    if is_missing(cell.get("drop_mean_over_draws")) or not draws:
        return texts(
            "cell.candidate_only", interval=interval_words(texts, cell.get("interval")), **values
        )
    return texts("cell.over_draws", n=draws, **values)
