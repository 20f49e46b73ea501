"""Does the champion still hold on production images?

One artifact is judged, not a recipe: each group's paired drop against the float model is shown to
stay below its limit, shown to exceed it, or stays open, by the tests of the worst-case check.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd

from ptq_pipeline.core.documents import Document
from ptq_pipeline.core.group_ids import NAMED_LEVELS, CellDocument, CellKey, GroupDefinitions
from ptq_pipeline.core.grouping import SubgroupScoringParameters
from ptq_pipeline.core.groups import Groups
from ptq_pipeline.core.names import CLEAN
from ptq_pipeline.core.outcomes import Outcomes
from ptq_pipeline.core.tally import tally
from ptq_pipeline.judgement.candidate import EVIDENCE
from ptq_pipeline.judgement.cells import (
    Cells,
    Counts,
    Requirement,
    build_cells,
    collect_counts,
)
from ptq_pipeline.judgement.judging import Status, above_floor, cell_intervals, judge
from ptq_pipeline.judgement.ledger import Asking
from ptq_pipeline.judgement.openings import Opener, Opening
from ptq_pipeline.judgement.planning import samples_to_show
from ptq_pipeline.judgement.policy import Policy
from ptq_pipeline.judgement.sentences import loss


class Holding(StrEnum):
    """What a re-audit found."""

    HOLDS = "HOLDS"
    FAILS = "FAILS"
    OPEN = "OPEN"


_HOLDING = {"PASS": Holding.HOLDS, "FAIL": Holding.FAILS, "INCONCLUSIVE": Holding.OPEN}
_SAYS = {
    Holding.HOLDS: "still holds",
    Holding.FAILS: "fails",
    Holding.OPEN: "was not shown to hold",
}


class HeldCell(CellDocument):
    """One cell of a re-audit; drops are fractions."""

    n: int
    drop: float
    interval: tuple[float, float]
    flips: int
    limit: float
    status: Status

    def rank(self) -> tuple[int, float]:
        """Sorts as :attr:`.MeasuredCell.rank` does."""
        return EVIDENCE.index(self.status), -self.drop / self.limit


class TooSmall(Document):
    """A group that needs about so many images to be shown to hold."""

    group: str
    shift: str
    n: int
    needed: int


class Reaudit(Document):
    """What a re-audit found.

    Attributes:
        champion: the version that was judged.
        labelled: whether the images have labels.
        n: how many images, copies not counted.
        float_accuracy: of the float model on clean images, a fraction; None without labels.
        too_small: of what is open for lack of images, the group that is furthest from enough to
            show even a champion without a net drop to hold; None when more images are not what is
            missing.
    """

    called: ClassVar[str] = "the re-audit"
    way_out: ClassVar[str] = "run the pipeline 'reaudit' again"

    schema_version: Literal[1] = 1
    result: Holding
    champion: str
    labelled: bool
    n: int
    float_accuracy: float | None
    policy_hash: str
    too_small: TooSmall | None
    cells: tuple[HeldCell, ...]

    @property
    def worst(self) -> HeldCell | None:
        """The first judged cell by evidence; within, the one that uses most of its limit."""
        judged = [cell for cell in self.cells if cell.status != "not_judged"]
        return min(judged, key=HeldCell.rank, default=None)

    def without_cells(self) -> dict[str, Any]:
        """What a record keeps of it."""
        return {key: value for key, value in self.to_json().items() if key != "cells"}

    def describe(self) -> str:
        """Return one sentence about it."""
        text = f"{self.champion} {_SAYS[self.result]} on {self.n} production images"
        worst, small = self.worst, self.too_small
        if worst is None:
            text += ", no group of which is large enough to be judged"
        else:
            differs = f"answers differently by {100 * worst.drop:.1f} points"
            text += (
                f"; worst is {worst.group}, which {loss(worst.drop) if self.labelled else differs} "
            )
            text += f"(limit {100 * worst.limit:.1f})"
        if small is not None and self.result is Holding.OPEN:
            under = "" if small.shift == CLEAN else f" under {small.shift}"
            text += f"; of {small.group}{under} it has {small.n} images and needs about "
            text += f"{small.needed}"
        return text


class EventReaudit(Reaudit):
    """The re-audit on the windows of one drift event, ``monitoring/reaudit_<event>.json``."""

    event: str
    windows: tuple[str, ...]
    audit_windows: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class ChampionAnswers:
    """What a champion and the float model say of the same images.

    Attributes:
        version: the champion's name.
        champion: its top-1 classes by shift, row by row the images.
        float_model: likewise.
    """

    version: str
    champion: Mapping[str, np.ndarray]
    float_model: Mapping[str, np.ndarray]

    def outcomes(self, sample_ids: np.ndarray, groups: Groups) -> Outcomes:
        """Pair them, in the order of ids that groups have; ``sample_ids`` are those of the rows."""
        order = np.argsort(sample_ids, kind="stable")
        champion, float_model = (
            {shift: np.asarray(given)[order] for shift, given in each.items()}
            for each in (self.champion, self.float_model)
        )
        return Outcomes.of_one(self.version, champion, float_model, groups)


def _required(cells: Cells, required: Collection[CellKey], shifts: Collection[str]) -> np.ndarray:
    # A condition of a control column is required by itself, a shift with its group.
    asked = [CellKey(*key.of, CLEAN if key.shift in shifts else key.shift) for key in cells.keys]
    return np.array([key in required for key in asked], bool)


def open_reaudit(opener: Opener, champion: str, policy: Policy, shifts: Collection[str]) -> Opening:
    """Enter a re-audit in the ledger: one question for each champion, by its record's hash.

    It is judged at what the policy's rule leaves to a question of its index.
    """
    look = {"policy": policy.hash, "shifts": list(shifts)}
    entry = opener.enter(Asking("reaudit", {"champion": champion}, look))
    return Opening.of("candidate", policy, entry, can_pass=False)


def reaudit(
    samples: pd.DataFrame,
    answers: ChampionAnswers,
    definitions: GroupDefinitions,
    opening: Opening,
    scoring: SubgroupScoringParameters,
    required: Collection[CellKey] = (),
) -> Reaudit:
    """Judge the champion on the audit images of production.

    Without labels every answer that differs from the float model's counts as lost. That bounds the
    drop of the average and of each segment from above, so HOLDS stays a proof there; classes are
    then those that the float model names. FAILS becomes OPEN, for disagreement is no loss.

    Args:
        samples: ``sample_id``, ``label`` (may be missing), segments; row by row the images that
            were answered.
        answers: of champion and float model.
        definitions: classes and segments.
        opening: limits and errors, at the level that it may spend.
        scoring: which groups the audit scored.
        required: cells that HOLDS must speak of where they occur, those of a group on clean
            images under every shift; see `judged_in_audit`.
    """
    policy = opening.policy
    labelled = bool(len(samples)) and bool(samples["label"].notna().all())
    clean = next(iter(answers.float_model.values()))
    truth = samples["label"] if labelled else pd.Series(clean, samples.index)
    samples = samples.assign(label=truth.astype(np.int64), split="audit")
    groups = scoring.build(samples, definitions)
    outcomes = answers.outcomes(samples["sample_id"].to_numpy(), groups)
    cells, counts = _counted(outcomes, policy, len(definitions.classes))
    needed = cells.critical | _required(cells, required, answers.float_model)
    blocked = opening.refused or bool((needed & ~cells.judged).any())
    judged = judge(counts, cells, policy.alpha, policy.alpha_fail)
    result, status = _HOLDING[judged.result(blocked)], judged.status()
    open_for = _too_small(cells, counts, status, needed, policy)
    right = (clean == samples["label"].to_numpy()).mean()
    return Reaudit(
        result=Holding.OPEN if result is Holding.FAILS and not labelled else result,
        champion=answers.version,
        labelled=labelled,
        n=len(samples) - groups.copies("audit"),
        float_accuracy=float(right) if labelled else None,
        policy_hash=opening.asked.hash,
        too_small=open_for if result is Holding.OPEN else None,
        cells=_held(cells, counts, status, policy.alpha),
    )


def _counted(outcomes: Outcomes, policy: Policy, classes: int) -> tuple[Cells, Counts]:
    scores = tally(outcomes)
    cells = build_cells(scores, policy, policy.alpha, outcomes.groups.cluster_sizes)
    counts = collect_counts(scores, cells, outcomes.trial_ids, "audit").by_cluster(outcomes, cells)
    return above_floor(cells, counts, policy, classes), counts


def _held(
    cells: Cells, counts: Counts, status: tuple[str, ...], alpha: float
) -> tuple[HeldCell, ...]:
    intervals = cell_intervals(counts, cells, alpha)
    return tuple(
        HeldCell(
            **key._asdict(),
            n=int(cells.n[i]),
            drop=float(counts.drop[0, i]),
            interval=(float(intervals[i][0]), float(intervals[i][1])),
            flips=int(counts.flips[0, i]),
            limit=float(cells.limit[i]),
            status=status[i],
        )
        for i, key in enumerate(cells.keys)
    )


def judged_in_audit(
    samples: pd.DataFrame,
    definitions: GroupDefinitions,
    policy: Policy,
    scoring: SubgroupScoringParameters,
) -> frozenset[CellKey]:
    """Return the classes and segments that the audit had enough images to judge.

    They are those on clean images and under each condition of a control column. A window that is
    too small for them cannot say that a champion still holds.
    """
    classes_and_segments = scoring.model_copy(update={"intersections": False})
    groups = classes_and_segments.build(samples, definitions)
    under = {name: groups.under(name) for name in groups.conditions}
    return frozenset(
        CellKey(*key, name)
        for name, seen in {CLEAN: groups, **under}.items()
        for key, n in seen.sizes("audit").items()
        if key[0] in NAMED_LEVELS
        and n
        >= Requirement.of(
            policy, key, [name], policy.alpha, seen.cluster_sizes.get(key)
        ).judged_from
    )


def _too_small(
    cells: Cells, counts: Counts, status: tuple[str, ...], required: np.ndarray, policy: Policy
) -> TooSmall | None:
    """Return group, shift, size and about the size it would take, of the one that lacks most."""
    lacking = []
    for i, found in enumerate(status):
        key, n = cells.keys[i], int(cells.n[i])
        whole = (key.level, key.shift) == ("average", CLEAN)
        unjudged = found == "not_judged" and (required[i] or whole)
        if found != "open" and not unjudged:
            continue
        # Half an answer each way, so that rates never seen are not taken for zero.
        flips = (counts.flips[0, i] + 1) / (n + 1)
        needed = samples_to_show(float(flips), float(cells.limit[i]), policy.alpha)
        if cells.clustered[i]:
            clusters = cells.clusters[key.of]
            needed = max(
                needed,
                Requirement.of(policy, key.of, [key.shift], policy.alpha, clusters).needed,
            )
        if n < needed:
            lacking.append((n / needed, i, n, needed))
    if not lacking:
        return None
    _, i, n, needed = min(lacking)
    key = cells.keys[i]
    return TooSmall(group=key.group, shift=key.shift, n=n, needed=needed)
