"""The first screen: may it ship, who would be hurt, how sure is that, what to do next."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ptq_pipeline.core.group_ids import LEVELS, NAMED_LEVELS
from ptq_pipeline.judgement.judging import Status
from ptq_pipeline.judgement.summary import CellSummary
from ptq_pipeline.judgement.verdict import Verdict
from ptq_pipeline.reporting.artifact import speed_line
from ptq_pipeline.reporting.business import champion_line, money_lines
from ptq_pipeline.reporting.formatting import count, points
from ptq_pipeline.reporting.inputs import ReportInputs
from ptq_pipeline.reporting.texts import Texts
from ptq_pipeline.reporting.wording import (
    all_said,
    drop_words,
    group_words,
    headline,
    interval_words,
    not_judged,
    shift_words,
    statements,
)


@dataclass(frozen=True)
class Card:
    """One number to remember: a group, its drop, how sure, and a bar on a shared scale.

    ``bar`` and ``limit_mark`` are positions in percent of the card's width.
    """

    kind: str
    group: str
    shift: str
    drop: str
    over: bool
    state: str
    detail: str
    sure: str
    bar: float
    limit_mark: float


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


def first_screen(texts: Texts, inputs: ReportInputs) -> FirstScreen:
    """Put the verdict and the decision into the words of the first screen."""
    verdict, result = inputs.verdict, inputs.verdict.result
    outcome = str(inputs.decision.outcome)
    if outcome == "refuse" and result == "PASS":
        outcome = "refuse_after_pass"
    said = headline(texts, verdict)
    worth = (
        *money_lines(texts, verdict.business),
        speed_line(texts, inputs.candidate_speed),
        champion_line(texts, inputs.champion_comparison),
    )
    return FirstScreen(
        subject=_subject(texts, inputs.parameters.get("quantization") or {}),
        result=result,
        badge=texts(f"badge.{result}"),
        glyph=_GLYPHS[result],
        answer=texts(f"answer.{outcome}"),
        headline=said[:1].upper() + said[1:],
        cards=_cards(texts, verdict),
        next_title=texts(f"next.title_{result}"),
        next_steps=_next_steps(texts, verdict, outcome),
        sure=_how_sure(texts, verdict),
        worth=tuple(line for line in worth if line),
    )


def _subject(texts: Texts, quantization: Mapping[str, Any]) -> str:
    method, runtime = quantization.get("method") or {}, quantization.get("runtime") or {}
    values = {
        "weights": method.get("weight_bits"),
        "activations": method.get("activation_bits"),
        "runtime": runtime.get("name"),
    }
    return "" if None in values.values() else texts("page.subject", **values)


def _cards(texts: Texts, verdict: Verdict) -> tuple[Card, ...]:
    worst = verdict.worst
    # An intersection gets a card of its own only when it is what the headline is about.
    levels = LEVELS[1:] if worst and worst.level == "intersection" else NAMED_LEVELS
    found = [cell for level in levels if (cell := verdict.worst_by_level.get(level))]
    if not found and worst:
        found = [worst]
    if verdict.average:
        found.append(verdict.average)
    largest = [value for cell in found for value in (cell.drop_mean_over_draws, cell.limit)]
    scale = 1.15 * max([0.001, *largest])
    status = {cell.key: cell.status for cell in verdict.candidate.cells}
    return tuple(
        _card(texts, cell, scale, verdict.draws_behind, status.get(cell.key)) for cell in found
    )


def _card(texts: Texts, cell: CellSummary, scale: float, draws: int, status: Status | None) -> Card:
    drop, limit = cell.drop_mean_over_draws, cell.limit
    over = drop > limit
    sure = texts("card.no_candidate")
    if cell.candidate_drop is not None:
        shown = (status or "").removeprefix("shown_")
        sure = texts(
            "card.candidate",
            drop=points(cell.candidate_drop),
            interval=interval_words(texts, cell.interval),
            shown=texts(f"card.shown_{shown}") if shown in ("good", "bad", "open") else "",
        )
    where = {"shift": shift_words(texts, cell.shift), "count": count(cell.n)}
    return Card(
        kind=texts(f"card.kind_{cell.level}"),
        group=texts("group.all_images") if cell.level == "average" else cell.group,
        shift=texts("card.where", **where),
        drop=drop_words(texts, drop),
        over=over,
        state=texts(f"card.state_{'over' if over else 'within'}", limit=points(limit)),
        detail=texts("card.over_draws", n=draws, worst=points(cell.drop_worst_draw)),
        sure=sure,
        bar=_position(drop, scale),
        limit_mark=_position(limit, scale),
    )


def _position(value: float, scale: float) -> float:
    return round(100 * min(max(value / scale, 0.0), 1.0), 1)


def _next_steps(texts: Texts, verdict: Verdict, outcome: str) -> tuple[str, ...]:
    first = {
        "promote": [texts("next.promote")],
        "refuse_after_pass": [texts("next.keep_champion")],
        "refuse": _remedies(texts, verdict),
        "inconclusive": [texts("next.wait")],
    }[outcome]
    # A refusal is settled; what is still open then stands with the reasons.
    still_open = [] if outcome == "refuse" else open_questions(texts, verdict)
    return (*first, *still_open)


def open_questions(texts: Texts, verdict: Verdict) -> list[str]:
    """Say what would settle what is still open."""
    return all_said(texts, verdict.settle, verdict.settle_sentences)


def _remedies(texts: Texts, verdict: Verdict) -> list[str]:
    steps, worst = [texts("next.do_not_ship")], verdict.worst
    if worst:
        steps.append(texts("next.remedy", group=group_words(texts, worst.level, worst.group)))
    return [*steps, texts("next.again")]


def _how_sure(texts: Texts, verdict: Verdict) -> tuple[str, ...]:
    recipe, lines = verdict.recipe, statements(texts, verdict)
    if recipe.distinct_draws:
        still_open = recipe.distinct_draws - recipe.shown_good - recipe.shown_bad
        lines.append(
            texts(
                "sure.draws",
                n=recipe.distinct_draws,
                size=count(recipe.set_size),
                pool=count(recipe.pool_size),
                bad=count(recipe.shown_bad),
                good=count(recipe.shown_good),
                open=count(max(0, still_open)),
            )
        )
    lines.append(texts("sure.interval"))
    if verdict.groups_not_judged:
        lines.append(texts("sure.not_judged", n=len(verdict.groups_not_judged)))
    if named := not_judged(texts, verdict):
        lines.append(named)
    if verdict.repeated_images:
        lines.append(texts("sure.repeated", n=verdict.repeated_images))
    return tuple(lines)
