"""Sentences about groups, shifts and drops, shared by the report and the terminal lines."""

from collections.abc import Mapping
from typing import Any

from ptq_pipeline.reporting.formatting import (
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
    return texts("shift.other", shift=plain_name(shift))


def shift_name(texts: Texts, shift: str) -> str:
    """Name a shift as a heading, for example ``gaussian noise``."""
    return texts("shift.clean_name") if shift == "clean" else plain_name(shift)


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
        return texts("cell.candidate_only", interval=interval(cell.get("interval")), **values)
    return texts("cell.over_draws", n=draws, **values)
