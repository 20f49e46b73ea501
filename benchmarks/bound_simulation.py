"""Error rates, coverage and power of every bound, by simulation of known truths.

``make coverage-study`` writes the long form into ``docs/coverage.md``; the tests run a short one.
Each study draws outcomes at the edge of its hypothesis, where errors are most frequent, and counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import sampling_simulation
from numpy.typing import NDArray

from ptq_pipeline.core.group_ids import CellKey
from ptq_pipeline.core.grouping import build_groups
from ptq_pipeline.judgement.cells import Cells, Counts
from ptq_pipeline.judgement.class_mix import reweighted_drop, sample_units
from ptq_pipeline.judgement.policy import LedgerPolicy
from ptq_pipeline.judgement.tolerance import bound_draws
from ptq_pipeline.judgement.worst_bound import worst_groups
from ptq_pipeline.statistics.anytime import fail_budget, failing_draw
from ptq_pipeline.statistics.betting import Units, units_above, units_below, units_interval
from ptq_pipeline.statistics.draws import split_budget
from ptq_pipeline.statistics.interval import drop_interval
from ptq_pipeline.statistics.paired import shown_above, shown_below

ALPHA = 0.05
# What fifty draws leave to each draw's tests.
IMAGE_LEVEL = split_budget(50, 0.1, ALPHA).alpha_image


@dataclass(frozen=True)
class Finding:
    """One line of the study.

    Attributes:
        what: The truth and the question.
        rate: Share of repeats in which it happened.
        bound: What the rate must not exceed (errors) or fall below (coverage); None for power.
        repeats: Repeats behind it.
        kind: ``error``, ``coverage`` or ``power``.
    """

    what: str
    rate: float
    bound: float | None
    repeats: int
    kind: str

    @property
    def holds(self) -> bool:
        """Whether the rate keeps its bound within 3 standard errors of the simulation."""
        if self.bound is None:
            return True
        slack = 3 * np.sqrt(self.bound * (1 - self.bound) / self.repeats)
        if self.kind == "coverage":
            return self.rate >= self.bound - slack
        return self.rate <= self.bound + slack


def run(repeats: int, seed: int = 20230313) -> list[Finding]:
    """Run every study.

    Args:
        repeats: Simulated outcomes per line; the slower studies take a tenth.
        seed: Seed of the generator.
    """
    rng = np.random.default_rng(seed)
    found: list[Finding] = []
    for n, limit in ((5, 0.6), (133, 0.1), (800, 0.04)):
        found += single_cell(rng, repeats, n, limit)
    for clusters, size in ((60, 4), (200, 4), (800, 1)):
        found += clustered_cell(rng, repeats, clusters, size)
    for sizes in ([10] + [1] * 790, [10] * 3 + [2] * 30 + [1] * 710):
        found += capped_clusters(rng, repeats, sizes)
    for groups in (1, 10, 1000):
        found.append(many_groups(rng, repeats, groups))
    found += [tolerance(rng, max(repeats // 10, 20), shared) for shared in (True, False)]
    found += stopping(rng, repeats)
    found.append(class_priors(rng, max(repeats // 4, 20)))
    found += ledger(rng, repeats)
    for what, rate, bound, times in sampling_simulation.findings(rng, max(repeats // 4, 20)):
        found.append(Finding(what, rate, bound, times, "power" if bound is None else "error"))
    return found


def single_cell(rng: np.random.Generator, repeats: int, n: int, limit: float) -> list[Finding]:
    """One group at its limit: exact tests and the exact interval."""
    gained_share = min(0.005, (1 - limit) / 2)
    lost, gained = _trinomial(rng, n, limit + gained_share, gained_share, repeats)
    sizes, limits = np.array([n]), np.array([limit])
    good = shown_below(lost[:, None], gained[:, None], sizes, limits, IMAGE_LEVEL)
    bad = shown_above(lost[:, None], gained[:, None], sizes, limits, ALPHA)
    pairs, counts = np.unique(np.stack([lost, gained]), axis=1, return_counts=True)
    inside = sum(
        int(count)
        for (b, c), count in zip(pairs.T, counts, strict=True)
        if _holds(drop_interval(int(b), int(c), n, ALPHA), limit)
    )
    fine, same = _trinomial(rng, n, 0.005, 0.005, repeats)
    power = shown_below(fine[:, None], same[:, None], sizes, limits, IMAGE_LEVEL)
    name = f"group of {n} at its limit of {100 * limit:g} points"
    return [
        Finding(f"{name}: shown good", float(good.mean()), IMAGE_LEVEL, repeats, "error"),
        Finding(f"{name}: shown bad", float(bad.mean()), ALPHA, repeats, "error"),
        Finding(f"{name}: in its interval", inside / repeats, 1 - ALPHA, repeats, "coverage"),
        Finding(
            f"group of {n}, 1 % of answers changed, no drop: shown to keep {100 * limit:g} points",
            *(float(power.mean()), None, repeats, "power"),
        ),
    ]


def clustered_cell(
    rng: np.random.Generator, repeats: int, clusters: int, size: int
) -> list[Finding]:
    """Clusters that are lost as a whole, at a limit of 4 points."""
    limit, sizes = 0.04, np.array([size, size])
    good = bad = inside = power = naive = 0
    for lost in rng.binomial(clusters, limit, repeats):
        units = Units(
            sizes.astype(float),
            np.array([size, 0.0]),
            np.array([lost, clusters - lost], dtype=float),
        )
        good += units_below(units, limit, IMAGE_LEVEL)
        bad += units_above(units, limit, ALPHA)
        inside += _holds(units_interval(units, ALPHA), limit)
    lost = rng.binomial(clusters, limit, repeats) * size
    naive = shown_below(
        lost[:, None], 0 * lost[:, None], np.array([clusters * size]), np.array([limit]), 0.05
    ).mean()
    for lost_clusters in rng.binomial(clusters, 0.005, repeats):
        units = Units(
            sizes.astype(float),
            np.array([size, 0.0]),
            np.array([lost_clusters, clusters - lost_clusters], dtype=float),
        )
        power += units_below(units, limit, IMAGE_LEVEL)
    name = f"{clusters} clusters of {size}, lost as a whole, limit 4 points"
    return [
        Finding(f"{name}: shown good", good / repeats, IMAGE_LEVEL, repeats, "error"),
        Finding(f"{name}: shown bad", bad / repeats, ALPHA, repeats, "error"),
        Finding(f"{name}: in its interval", inside / repeats, 1 - ALPHA, repeats, "coverage"),
        Finding(
            f"{name}: shown good at 5 % by the test that ignores clusters (for comparison)",
            *(float(naive), None, repeats, "power"),
        ),
        Finding(
            f"{clusters} clusters of {size}, 0.5 % lost: shown good",
            *(power / repeats, None, repeats, "power"),
        ),
    ]


def capped_clusters(rng: np.random.Generator, repeats: int, sizes: Sequence[int]) -> list[Finding]:
    """A few large clusters among many small ones, lost as a whole; limit 4 points.

    Outcomes are drawn for all images, and judged as audits are: what is beyond the cap is left out.
    """
    limit, of_image = 0.04, np.repeat(np.arange(len(sizes)), sizes)
    table = {"sample_id": np.arange(of_image.size), "split": "audit", "label": 0}
    groups = build_groups(pd.DataFrame({**table, "cluster": of_image}), ["one"], {})
    inside = groups.partitions[0].codes >= 0
    kept = np.unique(of_image[inside], return_counts=True)[1]
    large = np.array(sizes) == max(sizes)
    # All that the group may lose: evenly, or first of all in its large clusters.
    evenly = np.full(len(sizes), limit)
    most = np.where(large, 1.0, (limit * kept.sum() - kept[large].sum()) / kept[~large].sum())
    whole = np.array(sizes, dtype=float)

    def shown(chance: NDArray[np.float64], size: NDArray[np.float64]) -> float:
        good, one_each = 0, size.max() == 1
        for lost in rng.random((repeats, len(sizes))) < chance:
            if one_each:
                cell = [[lost.sum()]], [[0]], [len(sizes)], [limit]
                good += int(shown_below(*cell, IMAGE_LEVEL).item())
            else:
                good += units_below(Units.of(size, size * lost), limit, IMAGE_LEVEL)
        return good / repeats

    counted = dict(zip(*np.unique(sizes, return_counts=True), strict=True))
    name = " and ".join(f"{n} clusters of {size}" for size, n in counted.items())
    name += f", at most {kept.max():.0f} images counted of each"
    bare = np.full(len(sizes), 0.005)
    kept = kept.astype(float)
    return [
        Finding(
            f"{name}, lost as a whole, limit 4 points: shown good",
            *(shown(evenly, kept), IMAGE_LEVEL, repeats, "error"),
        ),
        Finding(
            f"{name}, the large ones always lost: shown good",
            *(shown(most, kept), IMAGE_LEVEL, repeats, "error"),
        ),
        Finding(f"{name}, 0.5 % lost: shown good", shown(bare, kept), None, repeats, "power"),
        Finding(
            f"{name}, 0.5 % lost: shown good if all images counted (for comparison)",
            *(shown(bare, whole), None, repeats, "power"),
        ),
    ]


def many_groups(rng: np.random.Generator, repeats: int, groups: int) -> Finding:
    """All groups at their limits: FAIL of the candidate, simultaneous over groups."""
    times = max(repeats // max(groups // 10, 1), 200)
    lost, gained = _trinomial(rng, 250, 0.1, 0.0, (times, groups))
    n, limit = np.full(groups, 250), np.full(groups, 0.1)
    wrong = shown_above(lost, gained, n, limit, ALPHA / groups).any(axis=1).mean()
    what = f"{groups:,} groups of 250, all at the limit: candidate FAIL"
    return Finding(what, float(wrong), ALPHA, times, "error")


def tolerance(rng: np.random.Generator, repeats: int, shared: bool) -> Finding:
    """A tenth of the draws loses 4 points in one group: the bound must reach the 90 % quantile."""
    split, draws, n = split_budget(50, 0.1, ALPHA), 50, np.array([800, 250])
    wrong = 0
    for _ in range(repeats):
        bad = rng.random(draws) < 0.1 + 1e-9
        times = 1 if shared else draws
        lost = np.zeros((draws, 2), dtype=np.int64)
        lost[:, 0] = np.where(bad, rng.binomial(800, 0.04, times), rng.binomial(800, 0.01, times))
        lost[:, 1] = rng.binomial(250, 0.005, times)
        found = bound_draws(_counts(lost, n), _cells(n), split, draws)
        # With more than a tenth of bad draws their 4 points are the quantile.
        wrong += found.bound < 0.04
    images = "shared" if shared else "own"
    what = f"just over 10 % of draws lose 4 points, {images} images: tolerance bound below 4"
    return Finding(what, wrong / repeats, ALPHA, repeats, "error")


def stopping(rng: np.random.Generator, repeats: int) -> list[Finding]:
    """Looking after every one of 200 draws: FAIL at exactly 10 % bad draws, and its power."""
    budget = fail_budget(0.1, ALPHA, 200)
    wrong = sum(
        failing_draw((rng.random(200) < 0.1).tolist(), budget) is not None for _ in range(repeats)
    )
    times = [failing_draw((rng.random(50) < 0.6).tolist(), budget) for _ in range(repeats)]
    power = sum(t is not None for t in times) / repeats
    return [
        Finding(
            "10 % bad draws, FAIL looked for after each of 200 draws",
            *(wrong / repeats, ALPHA, repeats, "error"),
        ),
        Finding("60 % bad draws: FAIL within 50 draws", power, None, repeats, "power"),
    ]


def class_priors(rng: np.random.Generator, repeats: int) -> Finding:
    """Ten classes, one with four times its audited share: interval of the reweighted drop."""
    n, drop = np.full(10, 800), np.linspace(0, 0.05, 10)
    target = np.array([0.1] * 9 + [0.4])
    target = target / target.sum()
    inside = 0
    for _ in range(repeats):
        gained = rng.binomial(n, 0.01)
        lost = rng.binomial(n - gained, (drop + 0.01) / 0.99)
        weight = target * n.sum() / n
        units = sample_units(lost, gained, n, weight)
        found = reweighted_drop(units, units.drop, weight, ALPHA)
        inside += _holds(found.interval, float((target * drop).sum()))
    what = "another mix of classes, weights up to 3: drop in its interval"
    return Finding(what, inside / repeats, 1 - ALPHA, repeats, "coverage")


def ledger(rng: np.random.Generator, repeats: int) -> list[Finding]:
    """Twenty candidates at the limit on one audit set: does any of them pass?"""
    questions, n = 20, np.array([800])
    lost, gained = _trinomial(rng, 800, 0.045, 0.005, (repeats, questions))
    rates = {}
    for rule in ("spend", "divide", "warn"):
        passed = np.zeros(repeats, dtype=np.bool_)
        for j in range(questions):
            alpha = ALPHA * LedgerPolicy(rule=rule, questions=questions).part(j + 1)
            own = shown_below(lost[:, [j]], gained[:, [j]], n, np.array([0.04]), alpha)
            passed |= own[:, 0]
        rates[rule] = float(passed.mean())
    name = "20 candidates at the limit on one audit set, some one passes"
    return [
        Finding(f"{name}, rule spend", rates["spend"], ALPHA, repeats, "error"),
        Finding(f"{name}, rule divide", rates["divide"], ALPHA, repeats, "error"),
        Finding(f"{name}, rule warn (for comparison)", rates["warn"], None, repeats, "power"),
    ]


def looks(rng: np.random.Generator, repeats: int) -> list[Finding]:
    """One recipe with exactly 10 % bad draws, judged again and again on the same images.

    On unlucky images, as many as the level of a look allows, every bad draw is shown good.
    """
    unlucky, bad = rng.random(repeats), np.cumsum(rng.random((repeats, 200)) < 0.1, axis=1)

    def passed(draws: int, part: float) -> np.ndarray:
        split = split_budget(draws, 0.1, part * ALPHA)
        return (unlucky < split.alpha_image) | (bad[:, draws - 1] <= split.allowed)

    every = range(50, 201)
    asked = {
        "one look, as preset (ledger.looks: 1)": (passed(50, 1), ALPHA),
        "at 50 and at 100 draws (ledger.looks: 2)": (passed(50, 0.5) | passed(100, 0.5), ALPHA),
        "at each of 50 to 200 draws in turn, none counted (for comparison)": (
            np.any([passed(draws, 1) for draws in every], axis=0),
            None,
        ),
    }
    return [
        Finding(
            f"10 % bad draws, recipe PASS: {what}",
            *(float(found.mean()), bound, repeats, "power" if bound is None else "error"),
        )
        for what, (found, bound) in asked.items()
    ] + _growing(rng, repeats)


def _growing(rng: np.random.Generator, repeats: int) -> list[Finding]:
    sizes, limit = np.arange(800, 1700, 100), np.array([0.04])
    state = rng.choice(3, (repeats, sizes[-1]), p=[0.045, 0.005, 0.95])
    lost, gained = (np.cumsum(state == which, axis=1)[:, sizes - 1] for which in (0, 1))
    shown = np.stack(
        [
            shown_below(lost[:, [i]], gained[:, [i]], np.array([n]), limit, ALPHA)[:, 0]
            for i, n in enumerate(sizes)
        ]
    )
    name = "a candidate at its limit, audit set grown from 800 to 1,600 images"
    return [
        Finding(f"{name}: the first look", float(shown[0].mean()), ALPHA, repeats, "error"),
        Finding(
            f"{name}: any of nine looks, none counted (for comparison)",
            *(float(shown.any(axis=0).mean()), None, repeats, "power"),
        ),
    ]


def worst_group(rng: np.random.Generator, repeats: int) -> Finding:
    """Forty groups that lose 0 to 5 points: the bound of the worst one, without correction."""
    n, drop = np.full(40, 400), np.linspace(0, 0.05, 40)
    cells, held = _cells(n), 0
    for _ in range(repeats):
        lost, gained = _trinomial_of(rng, n, drop + 0.01, 0.01)
        counts = replace(_counts(lost[None], n), gained=gained[None])
        held += worst_groups(cells, counts, ALPHA)[0].drop >= drop.max()
    what = "40 groups of 400, the worst loses 5 points: at most the bound of the worst group"
    return Finding(what, held / repeats, 1 - ALPHA, repeats, "coverage")


def table(findings: Sequence[Finding]) -> list[str]:
    """Lines of a Markdown table."""
    lines = ["| truth and question | seen | must be | repeats |", "|---|---|---|---|"]
    for each in findings:
        sign = {"coverage": "at least", "error": "at most"}.get(each.kind, "")
        bound = "-" if each.bound is None else f"{sign} {100 * each.bound:.3g} %"
        lines.append(f"| {each.what} | {100 * each.rate:.1f} % | {bound} | {each.repeats:,} |")
    return lines


def _trinomial_of(
    rng: np.random.Generator, n: np.ndarray, p_lost: np.ndarray, p_gained: float
) -> tuple[np.ndarray, np.ndarray]:
    gained = rng.binomial(n, p_gained)
    return rng.binomial(n - gained, p_lost / (1 - p_gained)), gained


def _trinomial(
    rng: np.random.Generator,
    n: int,
    p_lost: float,
    p_gained: float,
    shape: int | tuple[int, ...],
) -> tuple[np.ndarray, np.ndarray]:
    gained = rng.binomial(n, p_gained, shape)
    return rng.binomial(n - gained, min(p_lost / (1 - p_gained), 1.0)), gained


def _holds(interval: tuple[float, float], truth: float) -> bool:
    return interval[0] - 1e-12 <= truth <= interval[1] + 1e-12


def _counts(lost: np.ndarray, n: np.ndarray) -> Counts:
    return Counts(
        trial_ids=tuple(f"trial-{i}" for i in range(len(lost))),
        n=n,
        lost=lost,
        gained=np.zeros_like(lost),
        flips=lost,
        float_accuracy=np.full(len(n), 0.9),
    )


def _cells(n: np.ndarray) -> Cells:
    yes, no = np.ones(len(n), dtype=np.bool_), np.zeros(len(n), dtype=np.bool_)
    return Cells(
        keys=tuple(CellKey("class", f"group {i}", "clean") for i in range(len(n))),
        n=n,
        limit=np.full(len(n), 0.04),
        judged=yes,
        critical=no,
    )
