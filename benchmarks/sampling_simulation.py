"""Sampled draws under truths that mean harm, by the code that decides; lines of docs/coverage.md.

The images of every group are risky or safe, and an adversary knows which: it puts the losses where
the sample has to find them.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from ptq_pipeline.core.group_ids import CellKey
from ptq_pipeline.core.names import CLEAN
from ptq_pipeline.judgement.cells import Cells
from ptq_pipeline.judgement.policy import SAMPLED
from ptq_pipeline.judgement.sampling import (
    KnownAnswers,
    SampledCells,
    judge_by_sample,
    judge_in_full,
)
from ptq_pipeline.statistics.draws import split_budget

DRAWS, P0, ALPHA, ALPHA_BAD = 50, 0.1, 0.05, 0.02
RISKY = 0.05
SPLIT = split_budget(DRAWS, P0, ALPHA, SAMPLED)
BoolArray = NDArray[np.bool_]
# What was asked, its rate, what the rate must not exceed (None for power), and repeats.
Line = tuple[str, float, float | None, int]


@dataclass(frozen=True)
class Truth:
    """What an adversary does.

    Attributes:
        name: What it shows.
        sizes: Images of each group; all together are one more group with the same limit.
        limit: Limit of every group, a fraction; what the first group loses in a bad draw.
        bad: Share of bad draws.
        safe: Whether all losses are among the images that are not risky.
        shared: Whether all bad draws lose the same images.
        cluster: Images of a cluster, which are lost together.
        weak: Share of the images that all draws lose, good ones as well.
    """

    name: str
    sizes: tuple[int, ...] = (800,)
    limit: float = 0.04
    bad: float = P0
    safe: bool = True
    shared: bool = True
    cluster: int = 1
    weak: float = 0.0
    groups: NDArray[np.int64] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Lay out which image is in which group."""
        object.__setattr__(self, "groups", np.repeat(np.arange(len(self.sizes)), self.sizes))

    @property
    def risky(self) -> BoolArray:
        """The images that risk scores name, shape (images,): the first of every group."""
        place = np.concatenate([np.arange(n) < RISKY * n for n in self.sizes])
        return np.asarray(place, dtype=np.bool_)

    def study(self) -> SampledCells:
        """What is judged: every group, and all images together."""
        count, images = len(self.sizes), len(self.groups)
        members = np.vstack([self.groups == np.arange(count)[:, None], np.ones(images, bool)])
        keys = [CellKey("class", str(i), CLEAN) for i in range(count)]
        keys.append(CellKey("average", "all", CLEAN))
        own = np.arange(images) // self.cluster
        codes = {i: np.where(each, own, -1) for i, each in enumerate(members)}
        sizes = {
            key.of: np.bincount(np.unique(own[each], return_inverse=True)[1]).astype(float)
            for key, each in zip(keys, members, strict=True)
        }
        flags = np.ones(count + 1, bool)
        cells = Cells(
            *(tuple(keys), members.sum(axis=1), np.full(count + 1, self.limit), flags, ~flags),
            clusters=sizes if self.cluster > 1 else {},
        )
        return SampledCells(
            *(cells, {CLEAN: sparse.csr_array(members.astype(np.int64))}),
            *(codes if self.cluster > 1 else {}, SPLIT.alpha_image, ALPHA_BAD, SAMPLED.error),
        )

    def losses(self, rng: np.random.Generator) -> BoolArray:
        """Which images a bad draw loses: as many of the first group as its limit on the mean."""
        first = np.flatnonzero((self.groups == 0) & ~(self.safe & self.risky))
        heads = first[:: self.cluster]
        count = rng.binomial(self.sizes[0] // self.cluster, self.limit)
        lost = np.zeros(len(self.groups), bool)
        chosen = rng.choice(heads, min(count, len(heads)), replace=False)
        for step in range(self.cluster):
            lost[np.minimum(chosen + step, self.sizes[0] - 1)] = True
        return lost


def passes(truth: Truth, study: SampledCells, rng: np.random.Generator) -> bool:
    """Run one study: does it PASS?"""
    risky = {CLEAN: truth.risky}
    common, weak = truth.losses(rng), rng.random(len(truth.groups)) < truth.weak
    open_ = 0
    for number in range(DRAWS):
        lost = weak.copy()
        if rng.random() < truth.bad:
            lost |= common if truth.shared else truth.losses(rng)
        elif not lost.any() and number >= SAMPLED.full:
            # Nothing changes, so it is taken for good whatever is looked at.
            continue
        draw = _draw(study, lost)
        if number < SAMPLED.full:
            state = judge_in_full(study, draw)
            risky = {CLEAN: risky[CLEAN] | lost}
        else:
            state = judge_by_sample(study, draw, risky, rng)
        open_ += state != "good"
        if open_ > SPLIT.allowed:
            break
    return open_ <= SPLIT.allowed


def _draw(study: SampledCells, lost: BoolArray) -> KnownAnswers:
    return KnownAnswers(study, lambda _, images: (lost[images], np.zeros(len(images), bool)))


def taken_for_good(truth: Truth, repeats: int, rng: np.random.Generator) -> float:
    """Share of samples that take a draw for good that its full answers only just do not show good.

    One loss less, and they would.
    """
    study, risky = truth.study(), {CLEAN: truth.risky}
    order = rng.permutation(np.flatnonzero((truth.groups == 0) & ~(truth.safe & truth.risky)))

    def lost(count: int) -> BoolArray:
        return np.isin(np.arange(len(truth.groups)), order[:count])

    counts = range(len(order))
    first = bisect_left(
        counts, True, key=lambda n: judge_in_full(study, _draw(study, lost(n))) != "good"
    )
    bad = lost(first)
    wrong = [
        judge_by_sample(study, _draw(study, bad), risky, rng) == "good" for _ in range(repeats)
    ]
    return float(np.mean(wrong))


def contradictions(audits: int, rng: np.random.Generator) -> tuple[float, float, float]:
    """Simulate audits of every quality, with few losses in safe images, as in stored audits.

    Returns:
        The share that passes by sample and would not in full, the same the other way round, and the
        share of answers that a PASS took.
    """
    base = Truth("", (800,) * 3)
    study, images, seen = base.study(), 2400, []
    for _ in range(audits):
        # Between nothing lost and half a point beyond the limit, most of it in risky images.
        rate = rng.uniform(0, 0.045) / RISKY
        chance = np.where(base.risky, min(rate, 1.0), 3e-4)
        fixed = rng.random(images) < chance
        risky, open_, open_full, answers = base.risky, 0, 0, 0
        for number in range(DRAWS):
            lost = np.where(rng.random(images) < 0.1, rng.random(images) < chance, fixed)
            draw, full = _draw(study, lost), judge_in_full(study, _draw(study, lost))
            if number < SAMPLED.full:
                state, risky = judge_in_full(study, draw), risky | lost
            else:
                state = judge_by_sample(study, draw, {CLEAN: risky}, rng)
            answers += draw.count
            open_, open_full = open_ + (state != "good"), open_full + (full != "good")
            if open_ > SPLIT.allowed and open_full > SPLIT.allowed:
                break
        seen.append((open_ <= SPLIT.allowed, open_full <= SPLIT.allowed, answers))
    sampled, in_full = (np.array([each[i] for each in seen]) for i in range(2))
    cost = np.array([each[2] for each in seen])[sampled].mean() / (DRAWS * images)
    return float((sampled & ~in_full).mean()), float((in_full & ~sampled).mean()), float(cost)


TINY = (45,) * 12
PASSES = (
    Truth("losses in safe images only, the same in all bad draws"),
    Truth("the same, each bad draw its own", shared=False),
    Truth("the same, risk scores say nothing", safe=False),
    Truth("the same, 1 % of images lost by all draws", weak=0.01),
    Truth("ten groups of 800, losses in safe images only", (800,) * 10),
    Truth("twelve groups of 45, limit 10 points, losses in safe images only", TINY, 0.1),
    Truth("100 clusters of 4, lost as a whole, limit 15 points", (400,), 0.15, cluster=4),
)
SINGLE = (
    Truth("one group of 800"),
    Truth("ten groups of 800", (800,) * 10),
    Truth("twelve groups of 45, limit 10 points", TINY, 0.1),
    Truth("100 clusters of 4, limit 15 points", (400,), 0.15, cluster=4),
)


def findings(rng: np.random.Generator, repeats: int) -> list[Line]:
    """All lines: what, rate, bound, repeats."""
    lines: list[Line] = []
    for truth in SINGLE:
        name = f"sampled, {truth.name}: a draw just not shown good in full is taken for good"
        lines.append((name, taken_for_good(truth, repeats, rng), SAMPLED.error, repeats))
    for truth in PASSES:
        study = truth.study()
        passed = np.mean([passes(truth, study, rng) for _ in range(repeats)])
        name = f"sampled, a tenth of draws at the limit, {truth.name}: PASS"
        lines.append((name, float(passed), ALPHA, repeats))
    audits = 2 * repeats
    wrong, missed, cost = contradictions(audits, rng)
    lines.append(("sampled: PASS that the full audit would not give", wrong, ALPHA, audits))
    lines.append(("sampled: no PASS where the full audit gives one", missed, 0.0, audits))
    lines.append(("sampled: answers of a PASS, of those in full", cost, None, audits))
    return lines
