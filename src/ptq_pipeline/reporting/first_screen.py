"""The first screen: may it ship, who would be hurt, how sure is that, what to do next."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ptq_pipeline.reporting.artifact import speed_line
from ptq_pipeline.reporting.business import champion_line, money_lines
from ptq_pipeline.reporting.formatting import count, is_missing, points
from ptq_pipeline.reporting.texts import Texts
from ptq_pipeline.reporting.wording import (
    all_said,
    draws_behind,
    drop_words,
    group_words,
    interval_words,
    main_drop,
    not_judged,
    said,
    shift_words,
    statement,
)


@dataclass(frozen=True)
class Card:
    """One number to remember: a group, its drop, how sure, and a bar on a shared scale.

    ``bar`` and ``limit_mark`` are positions in percent of the card's width, ``None`` if unknown.
    """

    kind: str
    group: str
    shift: str
    drop: str
    over: bool | None
    state: str
    detail: str
    sure: str
    bar: float | None
    limit_mark: float | None


@dataclass(frozen=True)
class FirstScreen:
    """What a manager reads; all texts are final and not yet escaped."""

    subject: str
    result: str
    badge: str
    glyph: str
    answer: str
    headline: str
    cards: tuple[Card, ...]
    next_title: str
    next_steps: tuple[str, ...]
    sure: tuple[str, ...]
    worth: tuple[str, ...]


_GLYPHS = {"PASS": "✓", "FAIL": "✕", "INCONCLUSIVE": "?"}


def first_screen(
    texts: Texts,
    verdict: Mapping[str, Any],
    decision: Mapping[str, Any],
    parameters: Mapping[str, Any],
    comparison: Mapping[str, Any],
    speed: Mapping[str, Any],
) -> FirstScreen:
    """Put the verdict and the decision into the words of the first screen.

    Args:
        texts: Texts of one language.
        verdict: Content of ``verdict.json``.
        decision: Content of ``decision.json``.
        parameters: Settings of the audit by group, for the bit-widths.
        comparison: Content of ``champion_comparison.json``; may be empty.
        speed: Content of ``candidate_speed.json``; may be empty.
    """
    result = str(verdict["result"])
    outcome = str(decision["decision"])
    if outcome == "refuse" and result == "PASS":
        outcome = "refuse_after_pass"
    return FirstScreen(
        subject=_subject(texts, parameters.get("quantization") or {}),
        result=result,
        badge=texts(f"badge.{result}"),
        glyph=_GLYPHS.get(result, "?"),
        answer=texts(f"answer.{outcome}"),
        headline=_headline(texts, verdict),
        cards=_cards(texts, verdict),
        next_title=texts(f"next.title_{result}"),
        next_steps=_next_steps(texts, verdict, outcome),
        sure=_how_sure(texts, verdict),
        worth=tuple(
            line
            for line in (
                *money_lines(texts, verdict.get("business")),
                speed_line(texts, speed),
                champion_line(texts, comparison),
            )
            if line
        ),
    )


def _subject(texts: Texts, quantization: Mapping[str, Any]) -> str:
    method, runtime = quantization.get("method") or {}, quantization.get("runtime") or {}
    values = {
        "weights": method.get("weight_bits"),
        "activations": method.get("activation_bits"),
        "runtime": runtime.get("name"),
    }
    return "" if None in values.values() else texts("page.subject", **values)


def _cards(texts: Texts, verdict: Mapping[str, Any]) -> tuple[Card, ...]:
    by_level = verdict.get("worst_by_level") or {}
    found: list[tuple[str, Mapping[str, Any]]] = [
        (level, by_level[level]) for level in _carded_levels(verdict) if by_level.get(level)
    ]
    if not found and verdict.get("worst"):
        found = [(str(verdict["worst"]["level"]), verdict["worst"])]
    if verdict.get("average"):
        found.append(("average", verdict["average"]))
    drops = [main_drop(cell) for _, cell in found]
    limits = [cell.get("limit") for _, cell in found]
    known = [float(value) for value in (*drops, *limits) if not is_missing(value)]  # type: ignore[arg-type]
    scale = 1.15 * max([0.001, *known])
    draws = draws_behind(verdict)
    return tuple(
        _card(texts, level, cell, scale, draws, _candidate_status(verdict, level, cell))
        for level, cell in found
    )


def _candidate_status(
    verdict: Mapping[str, Any], level: str, cell: Mapping[str, Any]
) -> str | None:
    """Find what was shown about the candidate in this cell: good, bad or open."""
    for judged in (verdict.get("candidate") or {}).get("cells") or ():
        here = (judged["level"], judged["shift"]) == (level, cell["shift"])
        if here and judged["group"] == cell.get("group", judged["group"]):
            status = str(judged["status"]).removeprefix("shown_")
            return status if status in ("good", "bad", "open") else None
    return None


def _carded_levels(verdict: Mapping[str, Any]) -> tuple[str, ...]:
    # An intersection gets a card of its own only when it is what the headline is about.
    if (verdict.get("worst") or {}).get("level") == "intersection":
        return ("class", "segment", "intersection")
    return ("class", "segment")


def _card(
    texts: Texts,
    level: str,
    cell: Mapping[str, Any],
    scale: float,
    draws: int | None,
    status: str | None,
) -> Card:
    drop, limit = main_drop(cell), cell.get("limit")
    unknown = is_missing(drop) or is_missing(limit)
    over = None if unknown else bool(drop > limit)  # type: ignore[operator]
    state = "unknown" if over is None else "over" if over else "within"
    detail = []
    if draws and not is_missing(cell.get("drop_mean_over_draws")):
        detail.append(texts("card.over_draws", n=draws, worst=points(cell.get("drop_worst_draw"))))
    sure = texts("card.no_candidate")
    if not is_missing(cell.get("candidate_drop")):
        sure = texts(
            "card.candidate",
            drop=points(cell["candidate_drop"]),
            interval=interval_words(texts, cell.get("interval")),
            shown=texts(f"card.shown_{status}") if status else "",
        )
    return Card(
        kind=texts(f"card.kind_{level}"),
        group=texts("group.all_images") if level == "average" else str(cell["group"]),
        shift=texts(
            "card.where", shift=shift_words(texts, str(cell["shift"])), count=count(cell.get("n"))
        ),
        drop=drop_words(texts, drop),
        over=over,
        state=texts(f"card.state_{state}", limit=points(limit)),
        detail=" ".join(detail),
        sure=sure,
        bar=_position(drop, scale),
        limit_mark=_position(limit, scale),
    )


def _position(value: float | None, scale: float) -> float | None:
    if is_missing(value):
        return None
    return round(100 * min(max(value / scale, 0.0), 1.0), 1)  # type: ignore[operator]


def _headline(texts: Texts, verdict: Mapping[str, Any]) -> str:
    # The result stands in the badge already.
    headline = str(verdict.get("headline") or "")
    sentence = said(texts, headline, verdict.get("headline_sentence"))
    sentence = sentence.removeprefix(f"{verdict['result']}: ")
    return sentence[:1].upper() + sentence[1:]


def _next_steps(texts: Texts, verdict: Mapping[str, Any], outcome: str) -> tuple[str, ...]:
    first = {
        "promote": [texts("next.promote")],
        "refuse_after_pass": [texts("next.keep_champion")],
        "refuse": _remedies(texts, verdict),
        "inconclusive": [texts("next.wait")],
    }[outcome]
    # A refusal is settled; what is still open then stands with the reasons.
    still_open = [] if outcome == "refuse" else open_questions(texts, verdict)
    return (*first, *still_open)


def open_questions(texts: Texts, verdict: Mapping[str, Any]) -> list[str]:
    """Say what would settle what is still open."""
    return all_said(texts, verdict.get("settle") or (), verdict.get("settle_sentences"))


def _remedies(texts: Texts, verdict: Mapping[str, Any]) -> list[str]:
    steps = [texts("next.do_not_ship")]
    worst = verdict.get("worst")
    if worst:
        group = group_words(texts, str(worst["level"]), str(worst["group"]))
        steps.append(texts("next.remedy", group=group))
    steps.append(texts("next.again"))
    return steps


def _how_sure(texts: Texts, verdict: Mapping[str, Any]) -> tuple[str, ...]:
    recipe: Mapping[str, Any] = verdict.get("recipe") or {}
    lines: list[str] = []
    claims = (statement(texts, verdict.get(key)) for key in ("recipe", "tolerance", "ledger"))
    lines += [claim for claim in claims if claim]
    draws = recipe.get("distinct_draws")
    if draws:
        lines.append(
            texts(
                "sure.draws",
                n=draws,
                size=count(recipe.get("set_size")),
                pool=count(recipe.get("pool_size")),
                bad=count(recipe.get("shown_bad")),
                good=count(recipe.get("shown_good")),
                open=count(_open_draws(recipe)),
            )
        )
    lines.append(texts("sure.interval"))
    unjudged: Sequence[Mapping[str, Any]] = verdict.get("groups_not_judged") or ()
    if unjudged:
        lines.append(texts("sure.not_judged", n=len(unjudged)))
    if named := not_judged(texts, verdict):
        lines.append(named)
    if repeated := verdict.get("repeated_images"):
        lines.append(texts("sure.repeated", n=repeated))
    return tuple(lines)


def _open_draws(recipe: Mapping[str, Any]) -> int | None:
    counts = [recipe.get("distinct_draws"), recipe.get("shown_good"), recipe.get("shown_bad")]
    if any(is_missing(value) for value in counts):
        return None
    return max(0, int(counts[0]) - int(counts[1]) - int(counts[2]))  # type: ignore[arg-type]
