"""The verdict: recipe and candidate, with reasons and with what would settle an open question."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final, Literal

import pandas as pd
from pydantic import Field, WithJsonSchema

from ptq_pipeline.core.documents import Count, Document
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.group_ids import GroupDocument
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
from ptq_pipeline.judgement.class_mix import ReweightedDrop, reweighted_drops
from ptq_pipeline.judgement.explanation import Case, explain_candidate, explain_recipe, settle
from ptq_pipeline.judgement.judged_groups import (
    Representative,
    UnjudgedGroup,
    keep_groups,
    not_judged_line,
)
from ptq_pipeline.judgement.notebook import verdict_html
from ptq_pipeline.judgement.openings import LedgerView, Opener, recipe_question, spec_of
from ptq_pipeline.judgement.policy import Policy
from ptq_pipeline.judgement.question import Audited, fix_question
from ptq_pipeline.judgement.recipe import Draws, RecipeVerdict, collect_draws, judge_recipe
from ptq_pipeline.judgement.sampling import require_same_question
from ptq_pipeline.judgement.sentences import Reason, Result, Sentence, combine, place_value, say
from ptq_pipeline.judgement.summary import (
    TABLE_COLUMNS,
    WORST_LEVELS,
    CellSummary,
    DrawSpread,
    DrawSummary,
    GroupComponents,
    group_components,
)
from ptq_pipeline.judgement.tolerance import Tolerance, tolerance_bound

SCHEMA_VERSION: Final = 1


class SourceFile(Document):
    """A file that outcomes were read from, with its SHA-256 (hex)."""

    name: str
    sha256: str


class CappedGroup(GroupDocument):
    """A group that counts ``left_out`` audit images fewer, see :attr:`.Groups.beyond_caps`."""

    left_out: Count

    @classmethod
    def all_of(cls, groups: Groups) -> tuple[CappedGroup, ...] | None:
        """Those that there are; None where there are none."""
        found = [
            cls.model_validate({"level": key[0], "group": key[1], "left_out": n})
            for key, n in groups.left_out().items()
        ]
        return tuple(found) or None


class Source(Document):
    """Where outcomes come from that somebody else made.

    Attributes:
        files: The table, or the two that were joined; none where arrays were given.
        sha256: Of the outcomes themselves, whatever the order of rows and columns.
        kind: Whether the outcomes are answers, right or wrong, or scores in [0, 1]. Of right and
            wrong alone nobody can say which wrong answers changed.
        units: Units that can be right or wrong.
    """

    files: tuple[SourceFile, ...]
    sha256: str
    kind: Literal["answers", "right_or_wrong", "scores"]
    units: Count


class Verdict(Document):
    """verdict.json of ptq_pipeline, schema version 1.

    Drops, limits and intervals are fractions of accuracy; a drop of 0.088 is 8.8 points. Keys may
    be added within a schema version; none is removed or changes its meaning.

    Attributes:
        reasons: Why it is not PASS; empty when it is.
        settle: What would settle it; empty when it is settled.
        worst: Worst judged class, segment or intersection: one that the candidate is shown to
            fail before one that is open, and that before one shown good; within, by the mean drop
            over the draws as a share of the limit.
        worst_by_level: The same for each level.
        average: The average on clean images.
        average_beside_worst: The average under the shift of ``worst``.
        draw_spread: Spread of drops over the draws, per class and segment.
        groups_not_judged: Groups with too few images, or none, and groups in which the float model
            has nothing to lose; classes of the model without an audit image have n 0.
        not_judged: The classes and segments that are not judged, in a sentence; null without any.
        ledger: Recipe and candidate in the audit ledger; null where none is kept.
        tolerance: What nearly all draws keep in the worst group.
        class_priors: The candidate's drop under other mixes of classes; all intervals hold
            together.
        policy: The policy it was held against.
        representatives: Groups of a quick look, proposed from pool and selection; empty when all
            groups are judged.
        components: Draws crossed with images: standard deviations of a group's drop, as fractions,
            and the share of one observed drop's variance that is due to the draw.
        repeated_images: Audit images whose pixels and label another one has; they count in no
            group.
        capped_groups: Groups that count only some images of large clusters; absent where none does.
        business: What the candidate saves and costs a month; null where no view was asked for.
        source: The table that was judged; there is none where the outcomes are an audit's own.
    """

    added: ClassVar[frozenset[str]] = frozenset(
        "headline_sentence settle_sentences not_judged not_judged_sentence ledger tolerance "
        "class_priors representatives components repeated_images capped_groups business source "
        "average_beside_worst".split()
    )
    rare: ClassVar[frozenset[str]] = frozenset({"capped_groups", "source"})
    called: ClassVar[str] = "the verdict"
    way_out: ClassVar[str] = "write it again with worst_case_check"

    schema_version: Literal[1] = SCHEMA_VERSION
    result: Result
    headline: str
    headline_sentence: Sentence | None = None
    reasons: tuple[Reason, ...]
    settle: tuple[str, ...]
    settle_sentences: tuple[Sentence, ...] = ()
    recipe: RecipeVerdict
    candidate: CandidateVerdict
    worst: CellSummary | None
    worst_by_level: dict[str, CellSummary | None]
    average: CellSummary | None
    average_beside_worst: CellSummary | None = None
    draw_spread: tuple[DrawSpread, ...]
    groups_not_judged: tuple[UnjudgedGroup, ...]
    not_judged: str | None = None
    not_judged_sentence: Sentence | None = None
    ledger: LedgerView | None = None
    tolerance: Tolerance | None = None
    class_priors: tuple[ReweightedDrop, ...] = ()
    policy_hash: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    policy: Annotated[Policy, WithJsonSchema({"type": "object"})]
    representatives: tuple[Representative, ...] = ()
    components: tuple[GroupComponents, ...] = ()
    repeated_images: Count = 0
    capped_groups: tuple[CappedGroup, ...] | None = None
    business: BusinessView | None = None
    source: Source | None = None

    @property
    def draws_behind(self) -> int:
        """Finished draws that its means are taken over."""
        return self.draw_spread[0].draws if self.draw_spread else self.recipe.distinct_draws

    def _repr_html_(self) -> str:
        return verdict_html(
            self.headline, self.recipe.statement, cells=self.candidate.cells, reasons=self.reasons
        )


def published_schema() -> dict[str, Any]:
    """The JSON Schema that ships as ``reporting/schemas/verdict.schema.json``, for programs."""
    schema = Verdict.model_json_schema(by_alias=True)
    for model in (schema, *schema["$defs"].values()):
        # Keys may be added within a schema version, so readers let unknown ones pass.
        model.pop("additionalProperties", None)
    named = {"$id": f"urn:ptq-pipeline:verdict:{SCHEMA_VERSION}"}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **named, **schema}


@dataclass(frozen=True, eq=False)
class AuditSetting(HandedOn):
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
        given: Outcomes of all trials, in the place of both predictions.
        source: Where these come from.
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
    candidate: str | None = None

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
    ) -> Audited:
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

        return Audited(
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
        reasons=reasons if setting.source is None else tuple(each.of_units for each in reasons),
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
    )


def _told(sentence: Sentence, setting: AuditSetting) -> str:
    return sentence.text if setting.source is None else sentence.of_units


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
