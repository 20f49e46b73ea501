"""A draw of which some answers are known: does it matter what the others are?

First its risky images are looked at, under every shift those that flipped in one of the first draws
and those of which the float model is least sure. What they leave of each judged cell's test says
how large a sample of the other images must be. A cell that the sample leaves open is looked at in
full, so that an unlucky sample costs images and not the PASS. What this may err is derived in
:mod:`ptq_pipeline.statistics.sampling`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from ptq_pipeline.core.canonical import canonical_hash
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.groups import Groups
from ptq_pipeline.judgement.cells import Cells, ClusterOutcomes, Counts
from ptq_pipeline.judgement.judging import judge
from ptq_pipeline.judgement.policy import Policy
from ptq_pipeline.judgement.stopping import DrawState, Scope, Study
from ptq_pipeline.statistics.betting import losses_borne
from ptq_pipeline.statistics.draws import DrawSplit
from ptq_pipeline.statistics.paired import rejection_region
from ptq_pipeline.statistics.sampling import cheapest_share, sample_p_value

# Share of the images under each shift that are risky for the float model's small margin.
SMALL_MARGINS = 0.02

BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
# What became of some images under a shift: which answers were lost and which gained.
Answer = Callable[[str, IntArray], tuple[BoolArray, BoolArray]]


@dataclass(frozen=True, eq=False)
class SampledCells:
    """The cells of a study and where its images stand in them.

    Attributes:
        cells: What is judged.
        members: By shift, which images are in which cell, 0 or 1, shape (cells, images).
        clusters: Cluster of every image of a clustered cell, -1 outside, by position of the cell.
        alpha_image: Level of each *shown good* test.
        alpha_bad: Level of all *shown bad* tests of a draw together.
        error: What a sample may err.
    """

    cells: Cells
    members: Mapping[str, sparse.csr_array]
    clusters: Mapping[int, IntArray]
    alpha_image: float
    alpha_bad: float
    error: float

    @classmethod
    def of(cls, study: Study, shifts: Sequence[str], audited: IntArray) -> SampledCells:
        """What a study judges on the audit samples with the ids ``audited``, in their order."""
        here = np.isin(study.scope.groups.sample_ids, audited)
        codes = study.scope.groups.cluster_codes
        return cls(
            cells=study.cells,
            members={shift: study.members(shift, audited) for shift in shifts},
            clusters={
                i: codes[key.of][here] for i, key in enumerate(study.cells.keys) if key.of in codes
            },
            alpha_image=study.split.alpha_image,
            alpha_bad=study.budget.alpha_images,
            error=study.split.sampling.error,
        )

    @property
    def images(self) -> int:
        """Images under each shift."""
        return int(next(iter(self.members.values())).shape[1])

    @cached_property
    def question(self) -> str:
        """Hash of what is asked of every draw."""
        return question_hash(self.cells, self.alpha_image, self.error)

    def identity(self, risky: Mapping[str, BoolArray], suspects: IntArray) -> str:
        """Hash of everything beside a draw's answers and its seed that decides which are known.

        Args:
            risky: By shift, the images that are looked at in any case, shape (images,).
            suspects: Positions of the cells that are looked at first.
        """
        digest = hashlib.sha256(f"{self.question} {self.alpha_bad!r}".encode())
        digest.update(np.asarray(suspects, np.int64).tobytes())
        for shift, members in self.members.items():
            digest.update(shift.encode() + members.indptr.tobytes() + members.indices.tobytes())
            digest.update(np.packbits(risky[shift]).tobytes())
        for i, codes in sorted(self.clusters.items()):
            digest.update(i.to_bytes(8) + codes.tobytes())
        return digest.hexdigest()

    @cached_property
    def judged(self) -> IntArray:
        """Positions of the judged cells."""
        return np.flatnonzero(self.cells.judged)

    @cached_property
    def _borne(self) -> dict[int, IntArray]:
        """Lost answers that a judged cell of single images bears, by its gained ones."""
        n, limit = self.cells.n, self.cells.limit
        return {
            int(i): rejection_region(int(n[i]), float(limit[i]), self.alpha_image).b_max
            for i in self.judged
            if not self.cells.clustered[i]
        }

    def total(self, images: Mapping[str, BoolArray]) -> IntArray:
        """How many of these images are in each cell, shape (cells,)."""
        counted = [self.members[shift] @ each.astype(np.int64) for shift, each in images.items()]
        return np.asarray(sum(counted), dtype=np.int64)

    @cached_property
    def _cells_of_images(self) -> dict[str, sparse.csr_array]:
        """By shift, the members turned round, shape (images, cells)."""
        return {shift: members.T.tocsr() for shift, members in self.members.items()}

    def images_of(self, chosen: IntArray) -> dict[str, BoolArray]:
        """The images of some cells, by shift."""
        return {s: np.asarray(m[chosen].sum(axis=0) > 0) for s, m in self.members.items()}

    def shares(self, draw: KnownAnswers, rest: Mapping[str, BoolArray]) -> dict[str, FloatArray]:
        """How likely each image of the rest comes into the sample, so that every cell may show.

        An image is taken as likely as the cell that asks most of it: one whose test bears few more
        losses. A cell that bears a loss of all its other images asks nothing.
        """
        room, left = self.room(draw), self.total(rest)[self.judged]
        asked = np.zeros(len(self.cells))
        asked[self.judged] = cheapest_share(room, left, self.error)
        return {
            shift: np.where(rest[shift], _over(np.maximum, asked, by_image, empty=0.0), 0.0)
            for shift, by_image in self._cells_of_images.items()
        }

    def smallest(
        self, shares: Mapping[str, FloatArray], rest: Mapping[str, BoolArray]
    ) -> FloatArray:
        """The smallest share of an image of the rest in each judged cell; 1 where there is none."""
        found = np.ones(len(self.cells))
        for shift, members in self.members.items():
            share = np.where(rest[shift], shares[shift], 1.0)
            found = np.minimum(found, _over(np.minimum, share, members, empty=1.0))
        return found[self.judged]

    def room(self, draw: KnownAnswers) -> IntArray:
        """Losses among the unknown answers that each judged cell would bear, below 0 for none."""
        lost, gained = self.total(draw.lost), self.total(draw.gained)
        found = np.empty(len(self.judged), np.int64)
        for place, i in enumerate(self.judged.tolist()):
            if i in self._borne:
                found[place] = self._borne[i][gained[i]] - lost[i]
            else:
                found[place] = self._room_of_clusters(draw, i)
        return found

    def _room_of_clusters(self, draw: KnownAnswers, i: int) -> int:
        if i not in self.clusters:
            # Nothing is known of its clusters, so nothing is shown.
            return -1
        size, net, unknown = self._by_cluster(draw, i)
        return losses_borne(size, net, unknown, float(self.cells.limit[i]), self.alpha_image)

    @cached_property
    def _shift_of(self) -> list[str]:
        """The shift on whose images a cell is seen; a cell without images has any."""
        found = [next(iter(self.members))] * len(self.cells)
        for shift, members in self.members.items():
            for i in np.flatnonzero(np.diff(members.indptr)):
                found[i] = shift
        return found

    def _by_cluster(self, draw: KnownAnswers, i: int) -> tuple[FloatArray, ...]:
        """Size, net loss and unknown answers of each cluster of a cell."""
        shift, codes = self._shift_of[i], self.clusters[i]
        inside = self.members[shift][[i]].indices
        own = np.unique(codes[inside], return_inverse=True)[1]
        net = draw.lost[shift][inside].astype(float) - draw.gained[shift][inside]
        unknown = ~draw.known[shift][inside]
        counted = (np.ones(len(own)), net, unknown.astype(float))
        return tuple(np.bincount(own, weights=each).astype(np.float64) for each in counted)

    def bad_cells(self, draw: KnownAnswers) -> IntArray:
        """Positions of the cells all of whose answers are known and that are shown bad."""
        complete = self.total(draw.known) == self.cells.n
        clusters = {}
        for i in np.flatnonzero(complete & self.cells.clustered).tolist():
            if i in self.clusters:
                size, net, _ = self._by_cluster(draw, i)
                clusters[i] = ClusterOutcomes(size, sparse.csr_array(net[None]), size)
        lost, gained = (self.total(each)[None] for each in (draw.lost, draw.gained))
        counts = Counts(
            *(("draw",), self.cells.n, lost, gained, lost + gained, np.ones(len(self.cells))),
            clusters=clusters,
        )
        none = replace(self.cells, judged=np.zeros_like(self.cells.judged))
        bad = judge(counts, none, self.alpha_image, self.alpha_bad).bad[0]
        return np.flatnonzero(bad & complete)


def question_hash(cells: Cells, alpha_image: float, error: float) -> str:
    """Hash of the judged cells with their images and limits, and of the levels of their tests."""
    judged = [
        [*cells.keys[i], int(cells.n[i]), float(cells.limit[i])]
        for i in np.flatnonzero(cells.judged).tolist()
    ]
    return canonical_hash({"cells": sorted(judged), "levels": [alpha_image, error]})


def require_same_question(draws: pd.DataFrame, cells: Cells, split: DrawSplit) -> None:
    """Check that sampled draws were asked what is judged now.

    Args:
        draws: ``status``, and ``question`` where draws were sampled.
        cells: What is judged.
        split: Its levels.

    Raises:
        InputError: If they were not, or policy evaluates in full.
    """
    if "question" not in draws or not (draws["status"] == "sampled").any():
        return
    asked = set(draws.loc[draws["status"] == "sampled", "question"])
    if asked != {question_hash(cells, split.alpha_image, split.sampling.error)}:
        raise InputError(
            "trials: draws were sampled for other limits, groups, images or levels than are judged "
            "now; run the pipeline 'sampled' again, or 'quantization' where "
            "worst_case_check.evaluation is 'full'"
        )


def _over(
    extreme: np.ufunc, values: FloatArray, rows: sparse.csr_array, empty: float
) -> FloatArray:
    """The extreme of the values that each row has an entry for, shape (rows,)."""
    some = np.diff(rows.indptr) > 0
    found = np.full(len(some), empty)
    if some.any():
        found[some] = extreme.reduceat(values[rows.indices], rows.indptr[:-1][some])
    return found


class KnownAnswers:
    """What is known of one draw's answers, by shift; shapes are (images,)."""

    def __init__(self, study: SampledCells, answer: Answer) -> None:
        self._answer = answer
        self.known, self.lost, self.gained = (
            {shift: np.zeros(study.images, np.bool_) for shift in study.members} for _ in range(3)
        )

    def look(self, images: Mapping[str, BoolArray]) -> None:
        """Find out what became of images, of those that are not known yet."""
        for shift, wanted in images.items():
            new = np.flatnonzero(wanted & ~self.known[shift])
            if len(new):
                self.lost[shift][new], self.gained[shift][new] = self._answer(shift, new)
                self.known[shift][new] = True

    @property
    def count(self) -> int:
        """Answers that are known, over all shifts."""
        return sum(int(each.sum()) for each in self.known.values())


def judge_in_full(study: SampledCells, draw: KnownAnswers) -> DrawState:
    """Look at all of a draw's answers."""
    draw.look({shift: np.ones_like(each) for shift, each in draw.known.items()})
    if len(study.bad_cells(draw)):
        return "bad"
    return "good" if len(study.judged) and bool((study.room(draw) >= 0).all()) else "open"


def judge_by_sample(
    study: SampledCells,
    draw: KnownAnswers,
    risky: Mapping[str, BoolArray],
    rng: np.random.Generator,
) -> DrawState:
    """Look at a draw's risky answers, at a sample of the others, and at cells that stay open.

    Args:
        study: What is judged.
        draw: What is known of it, nothing at first.
        risky: By shift, the images to look at in any case, shape (images,).
        rng: Where the sample comes from, new for every draw.
    """
    draw.look(risky)
    rest = {shift: ~known for shift, known in draw.known.items()}
    was_lost, shares = study.total(draw.lost), study.shares(draw, rest)
    draw.look({shift: rng.random(study.images) < each for shift, each in shares.items()})
    seen = (study.total(draw.lost) - was_lost)[study.judged]
    room, left = study.room(draw), (study.cells.n - study.total(draw.known))[study.judged]
    smallest = study.smallest(shares, rest)
    shown = (sample_p_value(seen, seen + room, smallest) <= study.error) | (room >= left)
    if not shown.all():
        draw.look(study.images_of(study.judged[~shown]))
        shown[~shown] = study.room(draw)[~shown] >= 0
    if len(shown) and shown.all():
        return "good"
    return "bad" if len(study.bad_cells(draw)) else "open"


def planned_share(groups: Groups, policy: Policy, shifts: Sequence[str]) -> float:
    """Share of a sampled draw's audit answers that are looked at if none of them is lost.

    It needs no model: the float model is taken to be right everywhere.
    """
    audited = groups.split == "audit"
    ids, labels = groups.sample_ids[audited], groups.labels[audited]
    right = [pd.DataFrame({"shift": s, "sample_id": ids, "predicted": labels}) for s in shifts]
    index = pd.DataFrame({"set_id": [str(draw) for draw in range(policy.draws)]})
    index = index.assign(strategy="", role="evidence", draw=np.arange(policy.draws), valid=True)
    scope = Scope.planned(index, groups.only("audit"), policy)
    study = SampledCells.of(Study(scope, shifts, pd.concat(right)), shifts, ids)
    nothing = KnownAnswers(study, lambda _, images: (np.zeros(len(images), bool),) * 2)
    rest = {shift: np.ones(study.images, np.bool_) for shift in study.members}
    sampled = np.mean([share.mean() for share in study.shares(nothing, rest).values()])
    return float(SMALL_MARGINS + (1 - SMALL_MARGINS) * sampled)
