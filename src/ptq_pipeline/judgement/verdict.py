"""The verdict: recipe and candidate, with reasons and with what would settle an open question."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ptq_pipeline.core.groups import Groups
from ptq_pipeline.core.outcomes import Outcomes
from ptq_pipeline.judgement.business import Business, business_view
from ptq_pipeline.judgement.candidate import choose_candidate, judge_candidate
from ptq_pipeline.judgement.cells import Cells, Clusters, build_cells, collect_counts
from ptq_pipeline.judgement.clusters import cluster_outcomes
from ptq_pipeline.judgement.explanation import Case, explain_candidate, explain_recipe, settle
from ptq_pipeline.judgement.float_floor import above_floor
from ptq_pipeline.judgement.ledger import Opener
from ptq_pipeline.judgement.openings import (
    candidate_question,
    ledger_view,
    open_audit,
    recipe_question,
)
from ptq_pipeline.judgement.policy import Policy
from ptq_pipeline.judgement.priors import reweighted_drops
from ptq_pipeline.judgement.reasons import Result, combine
from ptq_pipeline.judgement.recipe import collect_draws, judge_recipe
from ptq_pipeline.judgement.representatives import Representative, keep_groups
from ptq_pipeline.judgement.sentences import Sentence, place_value, say
from ptq_pipeline.judgement.spread import GroupComponents, group_components
from ptq_pipeline.judgement.summary import (
    TABLE_COLUMNS,
    WORST_LEVELS,
    CellSummary,
    DrawSummary,
    worst_draws,
)
from ptq_pipeline.judgement.tolerance import Tolerance, tolerance_bound
from ptq_pipeline.judgement.unjudged import not_judged_line, unjudged_groups
from ptq_pipeline.judgement.verdict_form import CandidateVerdict, RecipeVerdict, Verdict
from ptq_pipeline.statistics.draws import split_budget


@dataclass(frozen=True, eq=False)
class AuditSetting:
    """What is known of an audit beside its scores; the less that is, the less can be said.

    Attributes:
        groups: Groups of the evaluated samples; without them groups that have no audit sample are
            not known of, and every sample counts as independent.
        predictions: Answers of the trials, ``trial_id``, ``shift``, ``sample_id``, ``predicted``;
            without them clustered groups stay open, because tests of single samples need
            independent ones.
        float_predictions: The same of the float model, without ``trial_id``.
        pool_size: Images in the pool, for the ratio of set size to pool size.
        opener: Enters recipe and candidate in the audit ledger, see :meth:`.Ledger.opener`.
        representatives: Groups that stand for all in a quick look; all groups when empty.
        business: What a business view is made of.
    """

    groups: Groups | None = None
    predictions: pd.DataFrame | None = None
    float_predictions: pd.DataFrame | None = None
    pool_size: int | None = None
    opener: Opener | None = None
    representatives: tuple[Representative, ...] = ()
    business: Business = Business()

    def __deepcopy__(self, memo: dict[int, object]) -> AuditSetting:
        """Nobody changes it, so Kedro's memory need not copy its tables."""
        return self

    def outcomes(self, trial_ids: list[str]) -> Outcomes | None:
        """The answers of some trials beside the float model's; None where they are not at hand."""
        if self.groups is None or self.predictions is None or self.float_predictions is None:
            return None
        used = self.predictions[self.predictions["trial_id"].isin(trial_ids)]
        return Outcomes.pair(used, self.float_predictions, self.groups)

    def clusters(self, known: bool) -> Clusters:
        """Sizes of clusters by group; None for each where nobody's answers are at hand."""
        sizes = {} if self.groups is None else self.groups.cluster_sizes
        return sizes if known else dict.fromkeys(sizes)


def build_verdict(
    scores: pd.DataFrame,
    trials: pd.DataFrame,
    index: pd.DataFrame,
    policy: Policy,
    setting: AuditSetting | None = None,
) -> tuple[Verdict, pd.DataFrame]:
    """Judge the recipe and the candidate.

    Args:
        scores: Scores of all trials.
        trials: All trials, failed ones included.
        index: ``calibration_set_index``.
        policy: The policy; :func:`.check_policy` has passed it.
        setting: What else is known.

    Returns:
        The verdict, and the candidate's cells beside the drops over all draws, worst first.

    Raises:
        InputError: For tables that contradict each other.
    """
    setting = setting or AuditSetting()
    groups, only = setting.groups, [each.key for each in setting.representatives]
    draws = collect_draws(index, trials, policy)
    opening = open_audit("recipe", recipe_question(draws, trials), policy, setting.opener)
    split = split_budget(max(draws.distinct, 1), policy.p0, opening.policy.alpha)
    evidence = keep_groups(scores[scores["trial_id"].isin(draws.done)], only)
    outcomes = setting.outcomes(draws.done)
    cells = build_cells(
        evidence, policy, split.alpha_image, setting.clusters(known=outcomes is not None)
    )
    audit = collect_counts(evidence, cells, draws.done, "audit")
    if outcomes is not None:
        audit = replace(audit, clusters=cluster_outcomes(outcomes, cells, draws.done))
    cells = above_floor(cells, audit, policy, groups.classes if groups else _classes(cells))
    sizes = groups.every_size() if groups else {}
    sizes = {key: n for key, n in sizes.items() if not only or key in only}
    unjudged = unjudged_groups(cells, policy, split.alpha_image, audit, sizes)
    blocked = any(group.blocks for group in unjudged)
    recipe = judge_recipe(draws, audit, cells, split, opening.policy, blocked or opening.refused)
    openings = [opening]
    candidate = None
    if draws.done:
        choice = choose_candidate(collect_counts(evidence, cells, draws.done, "selection"), cells)
        question = candidate_question(draws.set_of(choice.trial_id), trials)
        opening = open_audit("candidate", question, policy, setting.opener)
        openings.append(opening)
        candidate = judge_candidate(
            audit, cells, choice, opening.policy, blocked or opening.refused
        )
    case = Case(
        policy=openings[0].policy,
        draws=draws,
        split=split,
        cells=cells,
        audit=audit,
        unjudged=unjudged,
        recipe=recipe,
        candidate=candidate,
        openings=tuple(openings),
    )
    components = () if outcomes is None else group_components(outcomes, draws.done, only)
    verdict = _verdict(case, policy, index, setting, components)
    if candidate is None:
        return verdict, pd.DataFrame(columns=list(TABLE_COLUMNS))
    return verdict, DrawSummary(audit, candidate).table()


def _verdict(
    case: Case,
    policy: Policy,
    index: pd.DataFrame,
    setting: AuditSetting,
    components: tuple[GroupComponents, ...],
) -> Verdict:
    candidate, groups = case.candidate, setting.groups
    result = combine([case.recipe.result, candidate.result if candidate else "INCONCLUSIVE"])
    summary = DrawSummary(case.audit, candidate) if candidate else None
    worst, average = (summary.overall_worst(), summary.average()) if summary else (None, None)
    headline = _headline(result, worst, average, len(case.draws.done))
    reasons = () if result == "PASS" else (*explain_recipe(case), *explain_candidate(case))
    settled = () if result == "PASS" else settle(case)
    unjudged = not_judged_line(case.unjudged)
    shown = _candidate_verdict(case, policy)
    view = None
    # A few representative groups do not add up to all requests.
    if not setting.representatives:
        named = groups.by_column() if groups else None
        view = business_view(shown.cells, setting.business, 1 - policy.alpha_fail, named)
    return Verdict(
        result=result,
        headline=headline.text,
        headline_sentence=headline,
        reasons=reasons,
        settle=tuple(sentence.text for sentence in settled),
        settle_sentences=settled,
        recipe=_recipe_verdict(case, index, setting.pool_size),
        candidate=shown,
        worst=worst,
        worst_by_level={level: summary.worst(level) if summary else None for level in WORST_LEVELS},
        average=average,
        draw_spread=summary.spread() if summary else (),
        groups_not_judged=case.unjudged,
        not_judged=unjudged.text if unjudged else None,
        not_judged_sentence=unjudged,
        ledger=ledger_view(policy, case.openings),
        tolerance=_tolerance(case),
        class_priors=reweighted_drops(policy, candidate),
        policy_hash=policy.hash,
        policy=policy,
        representatives=setting.representatives,
        components=components,
        repeated_images=groups.copies("audit") if groups else 0,
        business=view,
    )


def _classes(cells: Cells) -> int:
    return len({key.group for key in cells.keys if key.level == "class"})


def _tolerance(case: Case) -> Tolerance:
    """Over the preset draws only, as PASS: how many there are is not chosen after looking."""
    table = case.draws.table
    preset = table[table["preset"]]
    done = preset.loc[preset["status"] == "done", "trial_id"].tolist()
    kept = case.audit.only(done)
    draws, unfinished = max(case.draws.distinct, 1), len(preset) - len(done)
    return tolerance_bound(kept, case.cells, case.split, draws, unfinished)


def _recipe_verdict(case: Case, index: pd.DataFrame, pool_size: int | None) -> RecipeVerdict:
    draws, split, outcome, policy = case.draws, case.split, case.recipe, case.policy
    said = outcome.statement(draws.distinct, policy.alpha)
    sizes = index.loc[index["role"] == "evidence", "size"].unique() if "size" in index else []
    set_size = int(sizes[0]) if len(sizes) == 1 else None
    preset = draws.table["preset"].to_numpy(dtype=np.bool_)
    return RecipeVerdict(
        result=outcome.result,
        strategy=draws.strategy,
        draws=policy.draws,
        drawn=draws.drawn,
        rejected_sets=draws.rejected,
        identical_sets=draws.identical,
        failed_trials=draws.count("failed"),
        distinct_draws=draws.distinct,
        shown_good=int((outcome.shown_good & preset).sum()),
        shown_bad=int(outcome.shown_bad.sum()),
        not_shown_good=outcome.not_shown_good,
        allowed_not_shown_good=max(split.allowed, 0),
        failed_after_draws=outcome.failed_at,
        p0=policy.p0,
        alpha=policy.alpha,
        alpha_image=split.alpha_image,
        alpha_draw=split.alpha_draw,
        total_error_bound=split.total_error,
        alpha_fail=policy.alpha_fail,
        set_size=set_size,
        pool_size=pool_size,
        pool_ratio=set_size / pool_size if set_size and pool_size else None,
        statement=said.text,
        sentence=said,
        worst_draws=worst_draws(case.cells, case.audit, draws.table),
    )


def _candidate_verdict(case: Case, policy: Policy) -> CandidateVerdict:
    candidate = case.candidate
    if candidate is None:
        return CandidateVerdict(result="INCONCLUSIVE", trial_id=None, set_id=None, cells=())
    score = candidate.choice.score
    return CandidateVerdict(
        result=candidate.result,
        trial_id=candidate.trial_id,
        set_id=case.draws.set_of(candidate.trial_id),
        selection_score=None if np.isnan(score) else score,
        cells=candidate.cells(policy.alpha),
    )


def _headline(
    result: Result, worst: CellSummary | None, average: CellSummary | None, draws: int
) -> Sentence:
    if worst is None:
        return say("headline.nothing_judged", result=result)
    values = {
        "result": result,
        "cell": place_value(worst.key),
        "mean": worst.drop_mean_over_draws,
        "draws": draws,
        "worst": worst.drop_worst_draw,
        "limit": worst.limit,
    }
    if average is None:
        return say("headline.worst", **values)
    beside = {"shift": average.shift, "average": average.drop_mean_over_draws}
    return say("headline.worst_and_average", **values, **beside)
