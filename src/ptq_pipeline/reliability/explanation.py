"""Reasons of a verdict in plain sentences, and what would settle an open one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ptq_pipeline.reliability.candidate import Candidate
from ptq_pipeline.reliability.cells import Cells, Counts, UnjudgedGroup
from ptq_pipeline.reliability.draws import DrawSplit, draws_for_pass
from ptq_pipeline.reliability.openings import Opening
from ptq_pipeline.reliability.planning import samples_to_decide
from ptq_pipeline.reliability.policy import Policy
from ptq_pipeline.reliability.reasons import Reason, Subject
from ptq_pipeline.reliability.recipe import Draws, RecipeOutcome
from ptq_pipeline.reliability.wording import cell_name, group_name, plural, points

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
                f"{int(outcome.shown_bad.sum())} of {plural(seen, 'draw')} are shown to exceed a "
                f"limit or failed to run, so more than {100 * policy.p0:g} % of draws are bad "
                f"(certain enough after {plural(outcome.failed_at, 'draw')}).",
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
        text = f"Only {draws.accepted} valid sets of the preset {policy.draws} were drawn."
    elif missing:
        text = f"{plural(missing, 'accepted calibration set')} have no trial yet."
    else:
        text = (
            f"{plural(draws.distinct, 'distinct draw')} cannot show that at most "
            f"{100 * policy.p0:g} % of draws are bad, even if all are good; "
            f"{split.needed_draws} can."
        )
    return Reason(
        "recipe.draws_missing",
        "recipe",
        text,
        observed=float(draws.distinct),
        limit=float(max(split.needed_draws, policy.draws)),
        n=draws.distinct,
    )


def _not_shown_good(case: Case) -> Reason:
    outcome, split, draws = case.recipe, case.split, case.draws
    text = (
        f"{outcome.not_shown_good} of {plural(draws.distinct, 'draw')} are not shown to keep every "
        f"limit, and at most {split.allowed} may be left open"
    )
    blocker = _main_blocker(case)
    if blocker is None:
        return Reason(
            "recipe.bad_draws",
            "recipe",
            text + ".",
            observed=float(outcome.not_shown_good),
            limit=float(split.allowed),
            n=draws.distinct,
        )
    cells = case.cells
    name = cell_name(cells.level[blocker], cells.group[blocker], cells.shift[blocker])
    return Reason(
        "recipe.bad_draws",
        "recipe",
        f"{text}; {name} stands in the way of {outcome.blocking[blocker]} of them.",
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
        text = "No trial of the recipe finished, so there is nothing that could ship."
        return [Reason("candidate.missing", "candidate", text)]
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
    found = "is shown to exceed" if bad else "is not shown to stay below"
    name = cell_name(cells.level[i], cells.group[i], cells.shift[i])
    return Reason(
        "candidate.shown_bad" if bad else "candidate.limit",
        "candidate",
        f"The drop of {name} {found} its limit of {points(cells.limit[i])}: {points(drop)} on "
        f"{plural(int(cells.n[i]), 'sample')}.",
        level=cells.level[i],
        group=cells.group[i],
        shift=cells.shift[i],
        observed=drop,
        interval=candidate.interval(i),
        limit=float(cells.limit[i]),
        n=int(cells.n[i]),
    )


def _common_reasons(case: Case, subject: Subject) -> list[Reason]:
    """What blocks PASS whatever the outcomes are."""
    reasons = case.reused(subject)
    reasons += [
        Reason(
            "critical_not_judged",
            subject,
            f"Policy names {group_name(group.level, group.group)} critical, but its "
            f"{plural(group.n, 'sample')} cannot be judged: {group.needed_n} are needed.",
            level=group.level,
            group=group.group,
            limit=group.limit,
            n=group.n,
        )
        for group in case.unjudged
        if group.critical
    ]
    if len(case.cells) and not case.cells.judged.any():
        text = "No group is large enough for its limit, so nothing is judged."
        reasons.append(Reason("nothing_judged", subject, text))
    clustered = np.flatnonzero(case.cells.judged & ~case.cells.testable)
    if clustered.size:
        i = int(clustered[0])
        reasons.append(
            Reason(
                "clustered_data",
                subject,
                f"{group_name(case.cells.level[i], case.cells.group[i])} and other groups hold "
                "several samples of one cluster, and the answers by cluster are not at hand; "
                "these samples are not independent.",
                level=case.cells.level[i],
                group=case.cells.group[i],
                n=int(case.cells.n[i]),
            )
        )
    return reasons


def settle(case: Case) -> tuple[str, ...]:
    """Plain sentences: what would settle what is still open."""
    sentences = []
    if case.recipe.result == "INCONCLUSIVE":
        sentences += _settle_draws(case)
    if any(opening.refused for opening in case.openings):
        sentences.append("Fresh audit images: these have judged another recipe or candidate.")
    for group in case.unjudged:
        if group.critical:
            sentences.append(
                f"{group.needed_n - group.n:,} more audit samples of "
                f"{group_name(group.level, group.group)} would let it be judged."
            )
    if case.candidate is not None and case.candidate.outcome.result == "INCONCLUSIVE":
        sentences += _settle_cells(case, case.candidate)
    return tuple(dict.fromkeys(sentences))


def _settle_draws(case: Case) -> list[str]:
    draws, policy, split, outcome = case.draws, case.policy, case.split, case.recipe
    missing = int((draws.table["status"] == "missing").sum())
    if draws.accepted < policy.draws:
        return [f"{plural(policy.draws - draws.accepted, 'more draw')}, as preset."]
    if missing:
        return [f"The trials of {plural(missing, 'accepted calibration set')}."]
    if not split.pass_possible:
        return [
            f"{plural(split.needed_draws - draws.distinct, 'more distinct draw')} "
            f"(preset {split.needed_draws} or more)."
        ]
    if outcome.not_shown_good <= split.allowed:
        return []
    sentences = []
    share = outcome.not_shown_good / max(draws.distinct, 1)
    if (needed := draws_for_pass(share, policy.p0, policy.alpha)) is not None:
        sentences.append(
            f"A new run preset to about {needed} draws could pass if the share of draws not shown "
            f"good stayed at {100 * share:.0f} %."
        )
    blocker = _main_blocker(case)
    if blocker is not None and not case.cells.clustered[blocker]:
        lost, gained = case.audit.lost[:, blocker].mean(), case.audit.gained[:, blocker].mean()
        sentences.append(
            _more_samples(case, "recipe", blocker, float(lost), float(gained), split.alpha_image)
        )
    return sentences


def _settle_cells(case: Case, candidate: Candidate) -> list[str]:
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
        sentences.append(f"{len(undecided) - MOST_SUGGESTIONS} other groups need more samples too.")
    return sentences


def _more_samples(
    case: Case, subject: str, i: int, lost: float, gained: float, alpha: float
) -> str:
    cells, n, limit = case.cells, int(case.cells.n[i]), float(case.cells.limit[i])
    over = (lost - gained) / n >= limit
    alpha_bad = case.policy.alpha_fail / max(int(cells.judged.sum()), 1)
    level = alpha_bad if over else alpha
    more = samples_to_decide(lost, gained, n, limit, level) - n
    shown = "exceeds" if over else "keeps"
    name = cell_name(cells.level[i], cells.group[i], cells.shift[i])
    return (
        f"About {more:,} more audit samples of {name} would show that the {subject} {shown} the "
        "limit there, at the rates seen."
    )
