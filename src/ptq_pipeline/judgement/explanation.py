"""Reasons of a verdict in plain sentences, and what would settle an open one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ptq_pipeline.judgement.candidate import Candidate, MeasuredCell
from ptq_pipeline.judgement.judged_groups import not_judged_reasons, settle_not_judged
from ptq_pipeline.judgement.judging import Judged, fail_family
from ptq_pipeline.judgement.openings import Opening
from ptq_pipeline.judgement.planning import samples_to_decide
from ptq_pipeline.judgement.question import Question
from ptq_pipeline.judgement.recipe import JudgedRecipe
from ptq_pipeline.judgement.sentences import Reason, Sentence, Subject, place_value, say
from ptq_pipeline.statistics.anytime import fail_budget
from ptq_pipeline.statistics.draws import draws_for_pass

MOST_SUGGESTIONS = 5
# Times the samples at hand, beyond which nobody gathers more of them.
OUT_OF_REACH = 20


@dataclass(frozen=True)
class Case:
    """Everything that reasons are drawn from."""

    recipe: JudgedRecipe
    candidate: Candidate | None
    question: Question

    @property
    def openings(self) -> tuple[Opening, ...]:
        """The look, as the recipe's and, where there is one, the candidate's."""
        look = self.question.opening
        candidate = () if self.candidate is None else (replace(look, subject="candidate"),)
        return (look, *candidate)


def explain_recipe(case: Case) -> list[Reason]:
    """Why the recipe did not PASS; empty if it did."""
    recipe, policy = case.recipe, case.recipe.policy
    if recipe.result in ("PASS", "NONE"):
        return []
    reasons = []
    if recipe.failed_at is not None:
        seen, bad = recipe.evaluated, int(recipe.shown_bad.sum())
        sentence = say(
            "recipe.shown_bad", bad=bad, draws=seen, p0=policy.p0, after=recipe.failed_at
        )
        figures: dict[str, Any] = {"observed": float(bad), "limit": policy.p0, "n": seen}
        reasons.append(Reason.of("recipe.bad_draws", "recipe", sentence, **figures))
    if (few := _too_few_draws(recipe)) is not None:
        reasons.append(few)
    elif recipe.not_shown_good > recipe.split.allowed:
        reasons.append(_not_shown_good(recipe))
    return reasons + _common_reasons(case, "recipe")


def _too_few_draws(recipe: JudgedRecipe) -> Reason | None:
    draws, policy, split = recipe.draws, recipe.policy, recipe.split
    if draws.accepted < policy.draws:
        sentence = say("recipe.few_sets", some=draws.accepted, preset=policy.draws)
    elif missing := draws.count("missing"):
        sentence = say("recipe.no_trial", some=missing)
    elif not split.pass_possible:
        sentence = say(
            "recipe.cannot_show", draws=draws.distinct, p0=policy.p0, needed=split.needed_draws
        )
    else:
        return None
    needed = float(max(split.needed_draws, policy.draws))
    figures: dict[str, Any] = {"observed": float(draws.distinct), "limit": needed}
    return Reason.of("recipe.draws_missing", "recipe", sentence, **figures, n=draws.distinct)


def _not_shown_good(recipe: JudgedRecipe) -> Reason:
    open_, draws, allowed = recipe.not_shown_good, recipe.draws.distinct, recipe.split.allowed
    said: dict[str, Any] = {"open": open_, "draws": draws, "allowed": allowed}
    figures: dict[str, Any] = {"observed": float(open_), "limit": float(allowed), "n": draws}
    blocker = _main_blocker(recipe)
    if blocker is None:
        return Reason.of("recipe.bad_draws", "recipe", say("recipe.open", **said), **figures)
    key, blocked = recipe.judged.cells.keys[blocker], int(recipe.blocking[blocker])
    sentence = say("recipe.open_by", **said, cell=place_value(key), blocked=blocked)
    return Reason.of("recipe.bad_draws", "recipe", sentence, key, **figures)


def _main_blocker(recipe: JudgedRecipe) -> int | None:
    """Cell that is not shown good in most draws; among equals the one with the largest drop."""
    blocking = recipe.blocking
    if blocking.max(initial=0) == 0:
        return None
    most = np.flatnonzero(blocking == blocking.max())
    ratio = recipe.judged.counts.drop.mean(axis=0)[most] / recipe.judged.cells.limit[most]
    return int(most[np.argmax(ratio)])


def explain_candidate(case: Case) -> list[Reason]:
    """Why the candidate did not PASS; empty if it did."""
    candidate = case.candidate
    if candidate is None:
        return [Reason.of("candidate.missing", "candidate", say("candidate.missing"))]
    if candidate.result == "PASS":
        return []
    bad, undecided = (_cells_by_ratio(candidate, status) for status in ("shown_bad", "open"))
    cells = (candidate.cell(MeasuredCell, i) for i in (*bad, *undecided))
    found = [cell.reason("candidate") for cell in cells]
    return found + _common_reasons(case, "candidate")


def _cells_by_ratio(candidate: Candidate, status: str) -> list[int]:
    """Cells of a status, those that use most of their limit first."""
    order = np.argsort(-candidate.drop / candidate.judged.cells.limit, kind="stable")
    return [int(i) for i in order if candidate.status[i] == status]


def _common_reasons(case: Case, subject: Subject) -> list[Reason]:
    """What blocks PASS whatever the outcomes are."""
    cells = case.recipe.judged.cells
    reasons = [r for each in case.openings if each.subject == subject for r in each.reasons()]
    if case.question.quick:
        reasons.append(Reason.of("quick_look", subject, say("quick_look")))
    reasons += not_judged_reasons(case.question.unjudged, subject)
    if len(cells) and not cells.judged.any():
        reasons.append(Reason.of("nothing_judged", subject, say("nothing_judged")))
    clustered = np.flatnonzero(cells.judged & ~cells.testable)
    if clustered.size:
        i = int(clustered[0])
        group, n = cells.keys[i].of, int(cells.n[i])
        sentence = say("clustered_data", group=place_value(group))
        reasons.append(Reason.of("clustered_data", subject, sentence, group, n=n))
    return reasons


def settle(case: Case) -> tuple[Sentence, ...]:
    """What would settle what is still open."""
    sentences: list[Sentence] = []
    if case.recipe.result == "INCONCLUSIVE":
        sentences += _settle_draws(case.recipe)
    if case.question.opening.refused or _spent(case.question):
        sentences.append(say("settle.fresh_images"))
    sentences += settle_not_judged(case.question.unjudged)
    if case.candidate is not None and case.candidate.result == "INCONCLUSIVE":
        sentences += _settle_cells(case.candidate)
    return tuple({sentence.text: sentence for sentence in sentences}.values())


def _spent(question: Question) -> bool:
    """Whether another look, at more draws or images, could not pass any more."""
    entry = question.opening.entry
    return entry is not None and entry.share >= 1


def _settle_draws(recipe: JudgedRecipe) -> list[Sentence]:
    draws, policy, split, judged = recipe.draws, recipe.policy, recipe.split, recipe.judged
    if draws.accepted < policy.draws:
        return [say("settle.preset_draws", more=policy.draws - draws.accepted)]
    if missing := draws.count("missing"):
        return [say("settle.trials", some=missing)]
    if not split.pass_possible:
        more = split.needed_draws - draws.distinct
        return [say("settle.distinct_draws", more=more, preset=split.needed_draws)]
    if recipe.not_shown_good <= split.allowed:
        return []
    sentences: list[Sentence] = []
    share = recipe.not_shown_good / max(draws.distinct, 1)
    if (needed := draws_for_pass(share, policy.p0, policy.alpha)) is not None:
        sentences.append(say("settle.new_run", draws=needed, share=share))
    blocker = _main_blocker(recipe)
    if blocker is not None and not judged.cells.clustered[blocker]:
        bad = fail_budget(policy.p0, policy.alpha_fail, policy.draws).alpha_images
        sentences.append(_more_samples("recipe", judged, blocker, split.alpha_image, bad))
    return sentences


def _settle_cells(candidate: Candidate) -> list[Sentence]:
    judged, policy = candidate.judged, candidate.policy
    undecided = [i for i in _cells_by_ratio(candidate, "open") if not judged.cells.clustered[i]]
    sentences = [
        _more_samples("candidate", judged, i, policy.alpha, policy.alpha_fail)
        for i in undecided[:MOST_SUGGESTIONS]
    ]
    if len(undecided) > MOST_SUGGESTIONS:
        sentences.append(say("settle.other_groups", some=len(undecided) - MOST_SUGGESTIONS))
    return sentences


def _more_samples(
    subject: Subject, judged: Judged, i: int, alpha: float, alpha_fail: float
) -> Sentence:
    """How many more samples of a cell would decide it, at the rates seen in its trials."""
    cells, counts = judged.cells, judged.counts
    n, limit = int(cells.n[i]), float(cells.limit[i])
    lost, gained = float(counts.lost[:, i].mean()), float(counts.gained[:, i].mean())
    over = (lost - gained) / n >= limit
    level = fail_family(cells, alpha_fail).level if over else alpha
    more = samples_to_decide(lost, gained, n, limit, level) - n
    if more > OUT_OF_REACH * n:
        return say("settle.out_of_reach", cell=place_value(cells.keys[i]), subject=subject)
    key = "settle.exceeds" if over else "settle.keeps"
    return say(key, more=more, cell=place_value(cells.keys[i]), subject=subject)
