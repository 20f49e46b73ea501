"""From scores, trials and policy to a verdict.

The question is fixed first, then recipe and candidate are judged.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.groups import Groups
from ptq_pipeline.core.handed_on import HandedOn
from ptq_pipeline.core.outcomes import Outcomes
from ptq_pipeline.judgement.business import Business, BusinessView, business_view
from ptq_pipeline.judgement.candidate import (
    CandidateVerdict,
    Choice,
    choose_candidate,
    judge_candidate,
)
from ptq_pipeline.judgement.cells import Cells, Clusters, Counts, collect_counts
from ptq_pipeline.judgement.class_mix import reweighted_drops
from ptq_pipeline.judgement.explanation import Case, explain_candidate, explain_recipe, settle
from ptq_pipeline.judgement.judged_groups import (
    Representative,
    keep_groups,
    not_judged_line,
)
from ptq_pipeline.judgement.openings import LedgerView, Opener, recipe_question, spec_of
from ptq_pipeline.judgement.policy import Policy
from ptq_pipeline.judgement.question import QuestionBasis, fix_question
from ptq_pipeline.judgement.recipe import Draws, collect_draws, judge_recipe
from ptq_pipeline.judgement.sampling import require_same_question
from ptq_pipeline.judgement.sentences import Result, Sentence, combine, place_value, say
from ptq_pipeline.judgement.summary import (
    TABLE_COLUMNS,
    WORST_LEVELS,
    CellSummary,
    DrawSummary,
    group_components,
)
from ptq_pipeline.judgement.tolerance import tolerance_bound
from ptq_pipeline.judgement.verdict import CappedGroup, JudgedDetector, Source, Verdict


@dataclass(frozen=True, eq=False)
class AuditSetting(HandedOn):
    """What is known of an audit beside its scores; the less that is, the less can be said.

    Attributes:
        groups: Groups of the evaluated samples; without them groups that have no audit sample are
            not known of, and every sample counts as independent.
        predictions: Answers of the trials, see :mod:`.answers`; without them clustered groups stay
            open, because tests of single samples need independent ones.
        float_predictions: ``shift``, ``sample_id``, ``predicted`` of the float model.
        pool_size: Images in the pool, for the ratio of set size to pool size.
        opener: Enters recipe and candidate in the audit ledger, see :meth:`.Ledger.opener`.
        representatives: Groups that stand for all in a quick look; all groups when empty.
        business: What a business view is made of.
        given: Outcomes of all trials, in the place of both predictions.
        source: Where these come from.
        detector: What is judged where it is no image.
        candidate: The trial that would ship; chosen on ``selection`` where nobody names it.
    """

    groups: Groups | None = None
    predictions: pd.DataFrame | None = None
    float_predictions: pd.DataFrame | None = None
    pool_size: int | None = None
    opener: Opener | None = None
    representatives: tuple[Representative, ...] = ()
    business: Business = Business()
    given: Outcomes | None = None
    source: Source | None = None
    detector: JudgedDetector | None = None
    candidate: str | None = None

    @property
    def of_units(self) -> bool:
        """Whether something else than images can be right or wrong."""
        return self.source is not None or self.detector is not None

    def outcomes(self, trial_ids: list[str]) -> Outcomes | None:
        """The answers of some trials beside the float model's; None where they are not at hand."""
        if self.given is not None:
            return self.given
        if self.groups is None or self.predictions is None or self.float_predictions is None:
            return None
        used = self.predictions[self.predictions["trial_id"].isin(trial_ids)]
        return Outcomes.pair(used, self.float_predictions, self.groups)

    def worth(self, shown: CandidateVerdict, confidence: float) -> BusinessView | None:
        """What the candidate saves and costs; None where no view was asked for."""
        if self.representatives:
            # A few groups do not add up to all requests.
            return None
        named = self.groups.by_column() if self.groups else None
        return business_view(shown.cells, self.business, confidence, named)

    def audited(
        self, evidence: pd.DataFrame, draws: Draws, trials: pd.DataFrame, outcomes: Outcomes | None
    ) -> QuestionBasis:
        """What the question is fixed from: scores of the finished trials, and these trials."""
        clusters: Clusters = {}
        if outcomes is not None:
            clusters = outcomes.cluster_sizes
        elif self.groups is not None:
            clusters = dict.fromkeys(self.groups.cluster_sizes)
        scored = evidence.loc[evidence["level"] == "class", "group"].nunique()
        only = [each.key for each in self.representatives]
        spec, first = spec_of(trials), draws.table.iloc[0]
        asked = recipe_question(spec, draws.strategy, str(first["set_id"]), str(first["trial_id"]))
        counted: list[Counts] = []

        def floats(cells: Cells) -> Counts:
            # Which cells are judged changes none of their counts.
            if not counted:
                counted.append(count_draws(evidence, cells, draws.done, outcomes))
            return counted[0]

        return QuestionBasis(
            counted=evidence,
            floats=floats,
            clusters=clusters,
            sizes={} if self.groups is None else self.groups.every_size(only),
            classes=scored if self.groups is None else self.groups.classes,
            only=only,
            named=(asked, {"shifts": spec.get("shifts")}),
        )


def count_draws(
    scores: pd.DataFrame, cells: Cells, trial_ids: list[str], outcomes: Outcomes | None
) -> Counts:
    """Count the outcomes of trials on the audit, by cluster where their answers are at hand."""
    audit = collect_counts(scores, cells, trial_ids, "audit")
    return audit if outcomes is None else audit.by_cluster(outcomes, cells)


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
        policy: The policy; its :meth:`~.Policy.check_names` has passed.
        setting: What else is known.

    Returns:
        The verdict, and the candidate's cells beside the drops over all draws, worst first.

    Raises:
        InputError: For tables that contradict each other.
    """
    draws = collect_draws(index, trials, policy)
    return judge_draws(scores, trials, draws, policy, setting or AuditSetting())


def judge_draws(
    scores: pd.DataFrame, trials: pd.DataFrame, draws: Draws, policy: Policy, setting: AuditSetting
) -> tuple[Verdict, pd.DataFrame]:
    """Judge draws that are gathered already, and the candidate: as :func:`build_verdict`.

    Of a single model, :meth:`.Draws.of_one_model`, only the candidate is judged.
    """
    if policy.class_priors and setting.given is not None and setting.given.graded:
        raise InputError(
            "class_priors weigh answers that are right or wrong, and these outcomes are scores: "
            "leave class_priors out of the policy."
        )
    only = [each.key for each in setting.representatives]
    evidence = keep_groups(scores[scores["trial_id"].isin(draws.done)], only)
    outcomes = setting.outcomes(draws.done)
    audited = setting.audited(evidence, draws, trials, outcomes)
    complete = not draws.drawn or draws.accepted >= policy.draws
    question = fix_question(audited, policy, draws.distinct, setting.opener, complete=complete)
    require_same_question(draws.table, question.cells, question.split)
    cells, audit = question.cells, count_draws(evidence, question.cells, draws.done, outcomes)
    recipe, candidate = judge_recipe(draws, audit, question), None
    if draws.done:
        if setting.candidate is None:
            selection = collect_counts(evidence, cells, draws.done, "selection")
            choice = choose_candidate(selection, cells)
        else:
            choice = Choice(setting.candidate, on=None)
        candidate = judge_candidate(audit, cells, choice, question.policy, question.blocked)
    case = Case(recipe, candidate, question)
    verdict = _verdict(case, policy, setting, outcomes)
    if candidate is None:
        return verdict, pd.DataFrame(columns=list(TABLE_COLUMNS))
    return verdict, DrawSummary(audit, candidate).table()


def _verdict(
    case: Case, policy: Policy, setting: AuditSetting, outcomes: Outcomes | None
) -> Verdict:
    recipe, candidate, groups = case.recipe, case.candidate, setting.groups
    shown = CandidateVerdict(result="INCONCLUSIVE", trial_id=None, set_id=None, cells=())
    summary = None
    if candidate is not None:
        shown = candidate.document(recipe.draws.set_of(candidate.choice.trial_id))
        summary = DrawSummary(recipe.judged.counts, candidate, outcomes)
    worst, average = (summary.overall_worst(), summary.average()) if summary else (None, None)
    beside = summary.average(worst.shift) if summary and worst else None
    result = combine([recipe.result, shown.result])
    drawn = len(recipe.draws.done) if recipe.draws.drawn else 0
    headline = _headline(result, worst, beside, drawn)
    reasons = () if result == "PASS" else (*explain_recipe(case), *explain_candidate(case))
    settled = () if result == "PASS" else settle(case)
    question = case.question
    unjudged = not_judged_line(question.unjudged)
    done, only = recipe.draws.done, [each.key for each in setting.representatives]
    components = () if outcomes is None else group_components(outcomes, done, only)
    alpha = (policy if candidate is None else candidate.policy).alpha
    return Verdict(
        result=result,
        headline=headline.text,
        headline_sentence=headline,
        reasons=tuple(each.of_units for each in reasons) if setting.of_units else reasons,
        settle=tuple(_told(sentence, setting) for sentence in settled),
        settle_sentences=settled,
        recipe=recipe.document(setting.pool_size),
        candidate=shown,
        worst=worst,
        worst_by_level={level: summary.worst(level) if summary else None for level in WORST_LEVELS},
        average=average,
        average_beside_worst=beside,
        draw_spread=summary.spread() if summary else (),
        groups_not_judged=question.unjudged,
        not_judged=_told(unjudged, setting) if unjudged else None,
        not_judged_sentence=unjudged,
        ledger=LedgerView.of(policy, case.openings),
        tolerance=tolerance_bound(recipe) if drawn else None,
        class_priors=reweighted_drops(candidate, outcomes) if candidate else (),
        policy_hash=policy.hash,
        policy=policy,
        representatives=setting.representatives,
        components=components,
        repeated_images=groups.copies("audit") if groups else 0,
        capped_groups=CappedGroup.all_of(groups) if groups else None,
        business=setting.worth(shown, 1 - alpha),
        source=setting.source,
        detector=setting.detector,
    )


def _told(sentence: Sentence, setting: AuditSetting) -> str:
    return sentence.of_units if setting.of_units else sentence.text


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
        return say("headline.worst" if draws else "headline.model", **values)
    beside = {"shift": average.shift, "average": average.drop_mean_over_draws}
    key = "headline.worst_and_average" if draws else "headline.model_and_average"
    return say(key, **values, **beside)
