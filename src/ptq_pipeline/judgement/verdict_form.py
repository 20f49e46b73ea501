"""The verdict as it is written and read, ``verdict.json``; :mod:`.verdict` reaches it."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field, WithJsonSchema

from ptq_pipeline.core.documents import Count, Document
from ptq_pipeline.judgement.business import BusinessView
from ptq_pipeline.judgement.candidate import JudgedCell
from ptq_pipeline.judgement.openings import LedgerView
from ptq_pipeline.judgement.policy import Policy
from ptq_pipeline.judgement.priors import ReweightedDrop
from ptq_pipeline.judgement.reasons import Reason, Result
from ptq_pipeline.judgement.representatives import Representative
from ptq_pipeline.judgement.sentences import Sentence
from ptq_pipeline.judgement.spread import GroupComponents
from ptq_pipeline.judgement.summary import CellSummary, DrawSpread, WorstDraw
from ptq_pipeline.judgement.tolerance import Tolerance
from ptq_pipeline.judgement.unjudged import UnjudgedGroup

SCHEMA_VERSION: Final = 1


class RecipeVerdict(Document):
    """The recipe's part."""

    added: ClassVar[frozenset[str]] = frozenset(
        "identical_sets failed_after_draws alpha_image alpha_draw total_error_bound alpha_fail "
        "set_size pool_size pool_ratio sentence worst_draws".split()
    )

    result: Result
    strategy: str
    draws: Count
    drawn: Count
    rejected_sets: Count
    identical_sets: int | None = None
    failed_trials: Count
    distinct_draws: Count
    shown_good: Count
    shown_bad: Count
    not_shown_good: Count
    allowed_not_shown_good: int
    failed_after_draws: int | None = None
    p0: float
    alpha: float
    alpha_image: float | None = None
    alpha_draw: float | None = None
    total_error_bound: float | None = None
    alpha_fail: float | None = None
    set_size: int | None = None
    pool_size: int | None = None
    pool_ratio: float | None = None
    statement: str
    sentence: Sentence | None = None
    worst_draws: tuple[WorstDraw, ...] = ()


class CandidateVerdict(Document):
    """The candidate's part."""

    added: ClassVar[frozenset[str]] = frozenset({"chosen_on", "selection_score"})

    result: Result
    trial_id: str | None
    set_id: str | None
    chosen_on: str | None = "selection"
    selection_score: float | None = None
    cells: tuple[JudgedCell, ...]


class Verdict(Document):
    """verdict.json of ptq_pipeline, schema version 1.

    Drops, limits and intervals are fractions of accuracy; a drop of 0.088 is 8.8 points. Keys may
    be added within a schema version; none is removed or changes its meaning.

    Attributes:
        result: PASS, FAIL or INCONCLUSIVE.
        headline: The verdict in a sentence.
        reasons: Why it is not PASS; empty when it is.
        settle: What would settle it; empty when it is settled.
        worst: Worst judged class, segment or intersection by mean drop over the draws.
        worst_by_level: The same for each level.
        average: The average on clean images.
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
        business: What the candidate saves and costs a month; null where no view was asked for.
    """

    added: ClassVar[frozenset[str]] = frozenset(
        "headline_sentence settle_sentences not_judged not_judged_sentence ledger tolerance "
        "class_priors representatives components repeated_images business".split()
    )
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
    business: BusinessView | None = None

    @property
    def draws_behind(self) -> int:
        """Finished draws that its means are taken over."""
        return self.draw_spread[0].draws if self.draw_spread else self.recipe.distinct_draws


def published_schema() -> dict[str, Any]:
    """The JSON Schema that ships as ``reporting/schemas/verdict.schema.json``, for programs."""
    schema = Verdict.model_json_schema(by_alias=True)
    for model in (schema, *schema["$defs"].values()):
        # Keys may be added within a schema version, so readers let unknown ones pass.
        model.pop("additionalProperties", None)
    named = {"$id": f"urn:ptq-pipeline:verdict:{SCHEMA_VERSION}"}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **named, **schema}
