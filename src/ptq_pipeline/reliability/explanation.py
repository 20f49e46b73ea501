"""Reasons of a verdict in plain sentences, and what would settle an open one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ptq_pipeline.reliability.candidate import Candidate
from ptq_pipeline.reliability.cells import Cells, Counts
from ptq_pipeline.reliability.draws import DrawSplit, draws_for_pass
from ptq_pipeline.reliability.fail_family import fail_family
from ptq_pipeline.reliability.openings import Opening
from ptq_pipeline.reliability.planning import samples_to_decide
from ptq_pipeline.reliability.policy import Policy
from ptq_pipeline.reliability.reasons import Reason, Subject
from ptq_pipeline.reliability.recipe import Draws, RecipeOutcome
from ptq_pipeline.reliability.sentences import Sentence, cell_value, group_value, say
from ptq_pipeline.reliability.unjudged import (
    UnjudgedGroup,
    not_judged_reasons,
    settle_not_judged,
)

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
    if outcome.failed_at is not None:
        seen = int((draws.table["status"] != "missing").sum())
        reasons.append(
            Reason(
                "recipe.bad_draws",
                "recipe",
                say(
                    "recipe.shown_bad",
                    bad=int(outcome.shown_bad.sum()),
                    draws=seen,
                    p0=policy.p0,
                    after=outcome.failed_at,
                ),
                observed=float(outcome.shown_bad.sum()),
                limit=policy.p0,
                n=seen,
            )
        )
    missing = int((draws.table["status"] == "missing").sum())
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
    return Reason(
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
    blocker = _main_blocker(case)
    if blocker is None:
        return Reason(
            "recipe.bad_draws",
            "recipe",
            say("recipe.open", **seen),
            observed=float(outcome.not_shown_good),
            limit=float(split.allowed),
            n=draws.distinct,
        )
    cells = case.cells
    return Reason(
        "recipe.bad_draws",
        "recipe",
        say(
            "recipe.open_by",
            **seen,
            cell=_cell(cells, blocker),
            blocked=int(outcome.blocking[blocker]),
        ),
        level=cells.level[blocker],
        group=cells.group[blocker],
        shift=cells.shift[blocker],
        observed=float(outcome.not_shown_good),
        limit=float(split.allowed),
        n=draws.distinct,
    )


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
        return [Reason("candidate.missing", "candidate", say("candidate.missing"))]
    if candidate.outcome.result == "PASS":
        return []
    order = _cells_by_ratio(case, candidate)
    status = candidate.outcome.status
    bad = [_cell_reason(case, candidate, i) for i in order if status[i] == "shown_bad"]
    undecided = [_cell_reason(case, candidate, i) for i in order if status[i] == "open"]
    return bad + undecided + _common_reasons(case, "candidate")


def _cells_by_ratio(case: Case, candidate: Candidate) -> list[int]:
    """Cells of the candidate, those that use most of their limit first."""
    ratio = case.audit.drop[candidate.row] / case.cells.limit
    return [int(i) for i in np.argsort(-ratio, kind="stable")]


def _cell_reason(case: Case, candidate: Candidate, i: int) -> Reason:
    cells = case.cells
    drop = float(case.audit.drop[candidate.row, i])
    bad = candidate.outcome.status[i] == "shown_bad"
    limit, n = float(cells.limit[i]), int(cells.n[i])
    key = "candidate.shown_bad" if bad else "candidate.open"
    return Reason(
        "candidate.shown_bad" if bad else "candidate.limit",
        "candidate",
        say(key, cell=_cell(cells, i), limit=limit, drop=drop, n=n),
        level=cells.level[i],
        group=cells.group[i],
        shift=cells.shift[i],
        observed=drop,
        interval=candidate.interval(i),
        limit=limit,
        n=n,
    )


def _cell(cells: Cells, i: int) -> dict[str, str]:
    return cell_value(cells.level[i], cells.group[i], cells.shift[i])


def _common_reasons(case: Case, subject: Subject) -> list[Reason]:
    """What blocks PASS whatever the outcomes are."""
    reasons = case.reused(subject)
    reasons += not_judged_reasons(case.unjudged, subject)
    if len(case.cells) and not case.cells.judged.any():
        reasons.append(Reason("nothing_judged", subject, say("nothing_judged")))
    clustered = np.flatnonzero(case.cells.judged & ~case.cells.testable)
    if clustered.size:
        i = int(clustered[0])
        reasons.append(
            Reason(
                "clustered_data",
                subject,
                say("clustered_data", group=group_value(case.cells.level[i], case.cells.group[i])),
                level=case.cells.level[i],
                group=case.cells.group[i],
                n=int(case.cells.n[i]),
            )
        )
    return reasons


def settle(case: Case) -> tuple[Sentence, ...]:
    """What would settle what is still open."""
    sentences: list[Sentence] = []
    if case.recipe.result == "INCONCLUSIVE":
        sentences += _settle_draws(case)
    if any(opening.refused for opening in case.openings):
        sentences.append(say("settle.fresh_images"))
    sentences += settle_not_judged(case.unjudged)
    if case.candidate is not None and case.candidate.outcome.result == "INCONCLUSIVE":
        sentences += _settle_cells(case, case.candidate)
    return tuple({sentence.text: sentence for sentence in sentences}.values())


def _settle_draws(case: Case) -> list[Sentence]:
    draws, policy, split, outcome = case.draws, case.policy, case.split, case.recipe
    missing = int((draws.table["status"] == "missing").sum())
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
    row, status = candidate.row, candidate.outcome.status
    undecided = [i for i in _cells_by_ratio(case, candidate) if status[i] == "open"]
    undecided = [i for i in undecided if not case.cells.clustered[i]]
    sentences = [
        _more_samples(
            case,
            "candidate",
            i,
            float(case.audit.lost[row, i]),
            float(case.audit.gained[row, i]),
            case.policy.alpha,
        )
        for i in undecided[:MOST_SUGGESTIONS]
    ]
    if len(undecided) > MOST_SUGGESTIONS:
        sentences.append(say("settle.other_groups", some=len(undecided) - MOST_SUGGESTIONS))
    return sentences


def _more_samples(
    case: Case, subject: str, i: int, lost: float, gained: float, alpha: float
) -> Sentence:
    cells, n, limit = case.cells, int(case.cells.n[i]), float(case.cells.limit[i])
    over = (lost - gained) / n >= limit
    level = fail_family(cells, case.policy.alpha_fail).level if over else alpha
    more = samples_to_decide(lost, gained, n, limit, level) - n
    key = "settle.exceeds" if over else "settle.keeps"
    return say(key, more=more, cell=_cell(cells, i), subject=subject)
