"""Reasons of a verdict in plain sentences, and what would settle an open one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ptq_pipeline.judgement.candidate import Candidate
from ptq_pipeline.judgement.cells import Cells, Counts
from ptq_pipeline.judgement.judging import fail_family
from ptq_pipeline.judgement.openings import Opening
from ptq_pipeline.judgement.planning import samples_to_decide
from ptq_pipeline.judgement.policy import Policy
from ptq_pipeline.judgement.reasons import Reason, Subject
from ptq_pipeline.judgement.recipe import Draws, RecipeOutcome
from ptq_pipeline.judgement.sentences import Sentence, place_value, say
from ptq_pipeline.judgement.unjudged import (
    UnjudgedGroup,
    not_judged_reasons,
    settle_not_judged,
)
from ptq_pipeline.statistics.draws import DrawSplit, draws_for_pass

MOST_SUGGESTIONS = 5


@dataclass(frozen=True)
class Case:
    """Everything that reasons are drawn from."""

    policy: Policy
    draws: Draws
    split: DrawSplit
    cells: Cells
    audit: Counts
    unjudged: tuple[UnjudgedGroup, ...]
    recipe: RecipeOutcome
    candidate: Candidate | None
    openings: tuple[Opening, ...] = ()

    def reused(self, subject: Subject) -> list[Reason]:
        """Why these audit images cannot pass a subject again."""
        return [r for each in self.openings if each.subject == subject for r in each.reasons()]


def explain_recipe(case: Case) -> list[Reason]:
    """Why the recipe did not PASS; empty if it did."""
    outcome, draws, split, policy = case.recipe, case.draws, case.split, case.policy
    if outcome.result == "PASS":
        return []
    reasons = []
    missing = draws.count("missing")
    if outcome.failed_at is not None:
        seen, bad = len(draws.table) - missing, int(outcome.shown_bad.sum())
        sentence = say(
            "recipe.shown_bad", bad=bad, draws=seen, p0=policy.p0, after=outcome.failed_at
        )
        figures: dict[str, Any] = {"observed": float(bad), "limit": policy.p0, "n": seen}
        reasons.append(Reason.of("recipe.bad_draws", "recipe", sentence, **figures))
    if draws.accepted < policy.draws or missing or not split.pass_possible:
        reasons.append(_too_few_draws(case, missing))
    elif outcome.not_shown_good > split.allowed:
        reasons.append(_not_shown_good(case))
    return reasons + _common_reasons(case, "recipe")


def _too_few_draws(case: Case, missing: int) -> Reason:
    draws, policy, split = case.draws, case.policy, case.split
    if draws.accepted < policy.draws:
        sentence = say("recipe.few_sets", some=draws.accepted, preset=policy.draws)
    elif missing:
        sentence = say("recipe.no_trial", some=missing)
    else:
        sentence = say(
            "recipe.cannot_show", draws=draws.distinct, p0=policy.p0, needed=split.needed_draws
        )
    return Reason.of(
        "recipe.draws_missing",
        "recipe",
        sentence,
        observed=float(draws.distinct),
        limit=float(max(split.needed_draws, policy.draws)),
        n=draws.distinct,
    )


def _not_shown_good(case: Case) -> Reason:
    outcome, split, draws = case.recipe, case.split, case.draws
    seen = {"open": outcome.not_shown_good, "draws": draws.distinct, "allowed": split.allowed}
    figures: dict[str, Any] = {
        "observed": float(outcome.not_shown_good),
        "limit": float(split.allowed),
        "n": draws.distinct,
    }
    blocker = _main_blocker(case)
    if blocker is None:
        return Reason.of("recipe.bad_draws", "recipe", say("recipe.open", **seen), **figures)
    key, blocked = case.cells.keys[blocker], int(outcome.blocking[blocker])
    sentence = say("recipe.open_by", **seen, cell=place_value(key), blocked=blocked)
    return Reason.of("recipe.bad_draws", "recipe", sentence, key, **figures)


def _main_blocker(case: Case) -> int | None:
    """Cell that is not shown good in most draws; among equals the one with the largest drop."""
    blocking = case.recipe.blocking
    if blocking.size == 0 or blocking.max() == 0:
        return None
    most = np.flatnonzero(blocking == blocking.max())
    ratio = case.audit.drop.mean(axis=0)[most] / case.cells.limit[most]
    return int(most[np.argmax(ratio)])


def explain_candidate(case: Case) -> list[Reason]:
    """Why the candidate did not PASS; empty if it did."""
    candidate = case.candidate
    if candidate is None:
        return [Reason.of("candidate.missing", "candidate", say("candidate.missing"))]
    if candidate.result == "PASS":
        return []
    order = _cells_by_ratio(candidate)
    found = [
        _cell_reason(candidate, i)
        for status in ("shown_bad", "open")
        for i in order
        if candidate.status[i] == status
    ]
    return found + _common_reasons(case, "candidate")


def _cells_by_ratio(candidate: Candidate) -> list[int]:
    """Cells of the candidate, those that use most of their limit first."""
    ratio = candidate.drop / candidate.judged.cells.limit
    return [int(i) for i in np.argsort(-ratio, kind="stable")]


def _cell_reason(candidate: Candidate, i: int) -> Reason:
    cells, bad = candidate.judged.cells, candidate.status[i] == "shown_bad"
    key, drop = cells.keys[i], float(candidate.drop[i])
    limit, n = float(cells.limit[i]), int(cells.n[i])
    said = "candidate.shown_bad" if bad else "candidate.open"
    return Reason.of(
        "candidate.shown_bad" if bad else "candidate.limit",
        "candidate",
        say(said, cell=place_value(key), limit=limit, drop=drop, n=n),
        key,
        observed=drop,
        interval=candidate.interval(i),
        limit=limit,
        n=n,
    )


def _common_reasons(case: Case, subject: Subject) -> list[Reason]:
    """What blocks PASS whatever the outcomes are."""
    reasons = case.reused(subject)
    reasons += not_judged_reasons(case.unjudged, subject)
    if len(case.cells) and not case.cells.judged.any():
        reasons.append(Reason.of("nothing_judged", subject, say("nothing_judged")))
    clustered = np.flatnonzero(case.cells.judged & ~case.cells.testable)
    if clustered.size:
        i = int(clustered[0])
        group, n = case.cells.keys[i].of, int(case.cells.n[i])
        sentence = say("clustered_data", group=place_value(group))
        reasons.append(Reason.of("clustered_data", subject, sentence, group, n=n))
    return reasons


def settle(case: Case) -> tuple[Sentence, ...]:
    """What would settle what is still open."""
    sentences: list[Sentence] = []
    if case.recipe.result == "INCONCLUSIVE":
        sentences += _settle_draws(case)
    if any(opening.refused for opening in case.openings):
        sentences.append(say("settle.fresh_images"))
    sentences += settle_not_judged(case.unjudged)
    if case.candidate is not None and case.candidate.result == "INCONCLUSIVE":
        sentences += _settle_cells(case, case.candidate)
    return tuple({sentence.text: sentence for sentence in sentences}.values())


def _settle_draws(case: Case) -> list[Sentence]:
    draws, policy, split, outcome = case.draws, case.policy, case.split, case.recipe
    missing = draws.count("missing")
    if draws.accepted < policy.draws:
        return [say("settle.preset_draws", more=policy.draws - draws.accepted)]
    if missing:
        return [say("settle.trials", some=missing)]
    if not split.pass_possible:
        return [
            say(
                "settle.distinct_draws",
                more=split.needed_draws - draws.distinct,
                preset=split.needed_draws,
            )
        ]
    if outcome.not_shown_good <= split.allowed:
        return []
    sentences: list[Sentence] = []
    share = outcome.not_shown_good / max(draws.distinct, 1)
    if (needed := draws_for_pass(share, policy.p0, policy.alpha)) is not None:
        sentences.append(say("settle.new_run", draws=needed, share=share))
    blocker = _main_blocker(case)
    if blocker is not None and not case.cells.clustered[blocker]:
        lost, gained = case.audit.lost[:, blocker].mean(), case.audit.gained[:, blocker].mean()
        sentences.append(
            _more_samples(case, "recipe", blocker, float(lost), float(gained), split.alpha_image)
        )
    return sentences


def _settle_cells(case: Case, candidate: Candidate) -> list[Sentence]:
    counts, cells = candidate.judged.counts, case.cells
    undecided = [
        i
        for i in _cells_by_ratio(candidate)
        if candidate.status[i] == "open" and not cells.clustered[i]
    ]
    sentences = [
        _more_samples(
            case,
            "candidate",
            i,
            float(counts.lost[0, i]),
            float(counts.gained[0, i]),
            case.policy.alpha,
        )
        for i in undecided[:MOST_SUGGESTIONS]
    ]
    if len(undecided) > MOST_SUGGESTIONS:
        sentences.append(say("settle.other_groups", some=len(undecided) - MOST_SUGGESTIONS))
    return sentences


def _more_samples(
    case: Case, subject: Subject, i: int, lost: float, gained: float, alpha: float
) -> Sentence:
    cells, n, limit = case.cells, int(case.cells.n[i]), float(case.cells.limit[i])
    over = (lost - gained) / n >= limit
    level = fail_family(cells, case.policy.alpha_fail).level if over else alpha
    more = samples_to_decide(lost, gained, n, limit, level) - n
    key = "settle.exceeds" if over else "settle.keeps"
    return say(key, more=more, cell=place_value(cells.keys[i]), subject=subject)
