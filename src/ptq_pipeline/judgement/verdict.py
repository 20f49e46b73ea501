"""The verdict: recipe and candidate, with reasons and with what would settle an open question."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field, WithJsonSchema

from ptq_pipeline.core.documents import Count, Document
from ptq_pipeline.core.group_ids import GroupDocument
from ptq_pipeline.core.groups import Groups
from ptq_pipeline.judgement.business import BusinessView
from ptq_pipeline.judgement.candidate import (
    CandidateVerdict,
)
from ptq_pipeline.judgement.class_mix import ReweightedDrop
from ptq_pipeline.judgement.judged_groups import (
    Representative,
    UnjudgedGroup,
)
from ptq_pipeline.judgement.notebook import verdict_html
from ptq_pipeline.judgement.openings import LedgerView
from ptq_pipeline.judgement.policy import Policy
from ptq_pipeline.judgement.recipe import RecipeVerdict
from ptq_pipeline.judgement.sentences import Reason, Result, Sentence
from ptq_pipeline.judgement.summary import (
    CellSummary,
    DrawSpread,
    GroupComponents,
)
from ptq_pipeline.judgement.tolerance import Tolerance

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


class JudgedDetector(Document):
    """What is judged of a detector: annotated objects, found or not.

    Attributes:
        alarms: Most false alarms of a class that count on one image, in the groups
            ``false_alarms=CLASS``; null where none are counted.
    """

    alarms: Count | None


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
        detector: What is judged of a detector; absent of a classifier.
    """

    added: ClassVar[frozenset[str]] = frozenset(
        "headline_sentence settle_sentences not_judged not_judged_sentence ledger tolerance "
        "class_priors representatives components repeated_images capped_groups business source "
        "average_beside_worst detector".split()
    )
    rare: ClassVar[frozenset[str]] = frozenset({"capped_groups", "source", "detector"})
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
    detector: JudgedDetector | None = None

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
