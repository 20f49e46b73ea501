"""Sentences about groups, shifts and drops, shared by the report and the terminal lines."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ptq_pipeline.core.names import CLEAN
from ptq_pipeline.judgement.sentences import ENGLISH, Sentence, Wording, decimal
from ptq_pipeline.judgement.summary import CellSummary
from ptq_pipeline.judgement.verdict import Verdict
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
# Inside a sentence, where no tooltip gives the rest.
SENTENCE_NAME = 80


def group_words(texts: Texts, level: str, group: str, length: int = NAME_LENGTH) -> str:
    """Name a group with its kind, for example ``class Sandal`` or ``all images``."""
    key = f"group.{level}"
    return texts(key if key in texts else "group.other", group=shorten(group, length))


def shift_words(texts: Texts, shift: str) -> str:
    """Name a shift as part of a sentence, for example ``under gaussian noise``."""
    if shift == CLEAN:
        return texts("shift.clean")
    return texts("shift.other", shift=identifier_name(texts, shift))


def shift_name(texts: Texts, shift: str) -> str:
    """Name a shift as a heading, for example ``gaussian noise``."""
    return texts("shift.clean_name") if shift == CLEAN else identifier_name(texts, shift)


def identifier_name(texts: Texts, identifier: object) -> str:
    """Give an identifier of this package in the reader's words, any other one as plain words."""
    key = f"names.{identifier}"
    return texts(key) if key in texts else plain_name(identifier)


def interval_words(texts: Texts, bounds: Sequence[float | None] | None, digits: int = 1) -> str:
    """Show an interval in points as the language does."""
    return interval(bounds, digits, texts.template("format.interval"))


def said(texts: Texts, text: str, sentence: Sentence | None) -> str:
    """Say a sentence of the statistics in the reader's language.

    Args:
        texts: Texts of one language.
        text: The sentence in English; it stays where an older file gives no more, and where a
            newer one says what this release does not know.
        sentence: The same by key.
    """
    if sentence is None or sentence.key not in ENGLISH:
        return text
    key = f"sentence.{sentence.key}"
    if key in texts:
        return _wording(texts).vformat(texts.template(key), (), sentence.values)
    return Sentence(key=sentence.key, values=_readable(sentence.values)).text


def _readable(values: Mapping[str, Any]) -> dict[str, Any]:
    """Give the values of an English sentence with short groups and shifts in plain words."""
    shown = dict(values)
    for name, value in values.items():
        if isinstance(value, Mapping):
            shown[name] = {**value, "group": shorten(value["group"], SENTENCE_NAME)}
            if "shift" in value:
                shown[name]["shift"] = plain_name(value["shift"])
        elif isinstance(value, list):
            shown[name] = [
                {
                    **each,
                    "group": shorten(each["group"], SENTENCE_NAME),
                    "shift": plain_name(each["shift"]),
                }
                for each in value
            ]
        elif name == "shift":
            shown[name] = plain_name(value)
    return shown


def all_said(texts: Texts, lines: Sequence[str], sentences: Sequence[Sentence]) -> list[str]:
    """Say several sentences; in English where not each has its ``sentences``, as in older files."""
    known = sentences if len(sentences) == len(lines) else [None] * len(lines)
    return [said(texts, text, each) for text, each in zip(lines, known, strict=True)]


def statements(texts: Texts, verdict: Verdict) -> list[str]:
    """Say what recipe, tolerance and ledger state."""
    claims = [said(texts, verdict.recipe.statement, verdict.recipe.sentence)]
    if verdict.tolerance is not None:
        claims.append(said(texts, verdict.tolerance.statement, verdict.tolerance.sentence))
    if (ledger := verdict.ledger) is not None:
        several = [said(texts, ledger.statement, each) for each in ledger.sentences]
        claims.append(texts("format.joiner").join(several) if several else ledger.statement)
    return [claim for claim in claims if claim]


def _wording(texts: Texts) -> Wording:
    def share(value: float, form: str) -> str:
        text = decimal(100 * value, f".{form}" if form else "g")
        return texts("format.percent", value=text)

    def group(value: Mapping[str, str], length: str = "") -> str:
        return group_words(texts, value["level"], value["group"], SENTENCE_NAME)

    def cell(value: Mapping[str, str], _: str) -> str:
        return texts("group.under", group=group(value), shift=shift_name(texts, value["shift"]))

    def unjudged(value: Sequence[Mapping[str, Any]], _: str) -> str:
        return texts("unjudged.joiner").join(unjudged_words(texts, each) for each in value)

    return Wording(
        {
            "": lambda value, _: str(value),
            "name": lambda value, _: identifier_name(texts, value),
            "+": lambda value, _: count(value),
            "count": lambda value, _: count(value),
            "points": lambda value, digits: points(value, int(digits or 1)),
            "percent": share,
            "floor_percent": lambda value, _: share(math.floor(100 * value) / 100, "0f"),
            "ordinal": lambda value, _: count(value),
            "group": group,
            "cell": cell,
            "unjudged": unjudged,
        }
    )


def unjudged_words(texts: Texts, group: Mapping[str, Any]) -> str:
    """Name a group that is not judged, with what it has and needs."""
    if group["accuracy"] is None:
        values = {"n": count(group["n"]), "needed": count(group["needed"])}
        why = texts("unjudged.images", **values)
    else:
        why = at_floor_words(texts, group["shift"], group["accuracy"])
    name = group_words(texts, group["level"], group["group"], SENTENCE_NAME)
    allowed = texts("unjudged.allowed") if group["allowed"] else ""
    return texts("unjudged.group", group=name, why=why, allowed=allowed)


def at_floor_words(texts: Texts, shift: str, accuracy: float) -> str:
    """Say how often the float model is right where it has nothing to lose."""
    right = texts("format.percent", value=decimal(100 * accuracy, ".1f"))
    return texts("unjudged.at_floor", accuracy=right, shift=shift_words(texts, shift))


def not_judged(texts: Texts, verdict: Verdict) -> str:
    """Say which classes and segments are not judged; an empty text where all are."""
    text = verdict.not_judged
    return said(texts, text, verdict.not_judged_sentence) if text else ""


def headline(texts: Texts, verdict: Verdict) -> str:
    """Say the headline without the result in front, which stands beside it."""
    sentence = said(texts, verdict.headline, verdict.headline_sentence)
    return sentence.removeprefix(f"{verdict.result}: ")


def drop_words(texts: Texts, drop: float | None) -> str:
    """Say a drop in words: ``loses 8.8 points``, ``gains 0.1 points``, ``loses nothing``."""
    if is_missing(drop):
        return texts("drop.unknown")
    shown = points(abs(drop))  # type: ignore[arg-type]
    if shown == points(0.0):
        return texts("drop.none")
    return texts("drop.loses" if drop > 0 else "drop.gains", points=shown)  # type: ignore[operator]


def cell_sentence(texts: Texts, cell: CellSummary, draws: int) -> str:
    """Say in one sentence what a cell of the verdict (``worst`` or ``average``) loses.

    Args:
        texts: Texts of one language.
        cell: The cell.
        draws: Number of draws behind the mean.
    """
    subject = group_words(texts, cell.level, cell.group)
    return texts(
        "cell.over_draws",
        n=draws,
        subject=subject[:1].upper() + subject[1:],
        shift=shift_words(texts, cell.shift),
        drop=drop_words(texts, cell.drop_mean_over_draws),
        worst=points(cell.drop_worst_draw),
        limit=points(cell.limit),
        count=count(cell.n),
    )
