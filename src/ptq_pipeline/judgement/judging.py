"""One judge for whatever has outcomes on the cells: draws, the candidate, the champion's rival.

A trial is *shown good* when every judged cell is shown to be below its limit: an intersection-union
test, which needs no correction. It is *shown bad* when one cell, judged or not, is shown to be
above its limit, at a level that is corrected for looking at all of them. Single samples are judged
by exact tests (:mod:`.paired`), clusters by bets (:mod:`.betting`).

The level of *shown bad* is fixed from counts alone. A cell whose images could not show a loss even
if all of them were lost can never be refused, so it need not be paid for (Tarone 1990, "A modified
Bonferroni method for discrete data", Biometrics 46): the level is ``alpha / k`` with the smallest
``k`` for which at most ``k`` cells could be shown bad at that level. Those that cannot never are,
so all tests together err with probability at most ``k * alpha / k = alpha``.

For ``n`` single images the smallest possible p-value of ``drop <= limit`` is that of ``n`` losses.
It is largest where the nuisance ``p_gained`` is, at ``(1 - limit) / 2``: ``((1 + limit) / 2)**n``.
For clusters it is one over the capital of a bet in which every image is lost.

Nothing left to lose is not kept: a group that the float model answers at chance loses nothing to
quantization, so a small drop there says nothing. A cell is judged only if the float model's
accuracy is *shown*, by an exact one-sided bound, to be above the policy's floor. The float model's
answers are known before any quantized one, so the judged cells are still fixed before the outcomes
that they judge. Cells that are not judged for this are tested for FAIL like all others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.judgement.cells import Cells, Counts
from ptq_pipeline.judgement.policy import Policy
from ptq_pipeline.judgement.sentences import Result, combine
from ptq_pipeline.statistics.betting import (
    Units,
    log_capital,
    units_above,
    units_below,
    units_interval,
    upper_bound,
)
from ptq_pipeline.statistics.interval import clopper_pearson, drop_interval
from ptq_pipeline.statistics.paired import shown_above, shown_below

Status = Literal["shown_good", "shown_bad", "open", "not_judged"]
_RESULTS: dict[Status, Result] = {
    "shown_good": "PASS",
    "shown_bad": "FAIL",
    "open": "INCONCLUSIVE",
}


@dataclass(frozen=True)
class FailFamily:
    """The tests for FAIL of one trial: the cells that can be shown bad, and the level of each.

    ``cells`` are positions, shape (tested,).
    """

    cells: NDArray[np.int64]
    level: float

    @property
    def size(self) -> int:
        """Tests, at least 1."""
        return max(len(self.cells), 1)


@dataclass(frozen=True)
class Judged:
    """What is shown of every cell of every trial.

    ``good`` says whether the drop is shown to be below its limit and ``bad`` whether it is shown to
    be above, shape (trials, cells); both are False in cells that are not tested.
    """

    cells: Cells
    counts: Counts
    good: NDArray[np.bool_]
    bad: NDArray[np.bool_]

    @property
    def shown_good(self) -> NDArray[np.bool_]:
        """Whether every judged cell of a trial is shown good, and there is one, shape (trials,)."""
        judged = self.cells.judged
        return np.all(self.good[:, judged], axis=1) & bool(judged.any())

    @property
    def shown_bad(self) -> NDArray[np.bool_]:
        """Whether some cell of a trial is shown bad, shape (trials,)."""
        return np.any(self.bad, axis=1)

    def status(self, row: int = 0) -> tuple[Status, ...]:
        """What is shown of every cell of one trial."""
        shown = np.select(
            [self.bad[row], ~self.cells.judged, self.good[row]],
            ["shown_bad", "not_judged", "shown_good"],
            "open",
        )
        return tuple(shown.tolist())

    def result(self, blocked: bool, row: int = 0) -> Result:
        """What follows for one trial; ``blocked`` says that a group that must be judged is not."""
        result = combine([_RESULTS[each] for each in self.status(row) if each in _RESULTS])
        return "INCONCLUSIVE" if blocked and result == "PASS" else result


def judge(counts: Counts, cells: Cells, alpha_good: float, alpha_bad: float) -> Judged:
    """Judge every cell of every trial.

    ``alpha_good`` is the level of each *shown good* test, ``alpha_bad`` that of all *shown bad*
    tests of a trial together.
    """
    good, bad = (np.zeros(counts.lost.shape, dtype=np.bool_) for _ in range(2))
    tested, family = np.flatnonzero(cells.testable), fail_family(cells, alpha_bad)
    good[:, tested] = cells_below(counts, cells, tested, alpha_good)
    above = (shown_above, units_above)
    bad[:, family.cells] = _decide(counts, cells, family.cells, family.level, above)
    return Judged(cells, counts, good, bad)


def fail_family(cells: Cells, alpha: float) -> FailFamily:
    """Fix which cells are tested for FAIL at the common level ``alpha``, and the level of each.

    Of groups whose clusters are not known none is tested.
    """
    smallest = np.array([_log_smallest_p(cells, i) for i in range(len(cells))], dtype=np.float64)
    for count in range(1, max(len(cells), 1) + 1):
        level = alpha / count
        able = np.flatnonzero(smallest <= np.log(level))
        if len(able) <= count:
            break
    return FailFamily(able.astype(np.int64), level)


def _log_smallest_p(cells: Cells, i: int) -> float:
    n, limit = float(cells.n[i]), float(cells.limit[i])
    if n < 1:
        return np.inf
    if not cells.clustered[i]:
        return n * float(np.log((1 + limit) / 2))
    size = cells.clusters[cells.keys[i].of]
    if size is None:
        return np.inf
    return -log_capital(Units.of(size, size).mirrored(), -limit)


def cells_below(
    counts: Counts, cells: Cells, chosen: NDArray[np.int64], alpha: float
) -> NDArray[np.bool_]:
    """Whether each chosen testable cell of each trial is shown to be below its limit.

    Returns:
        Shape (trials, chosen).
    """
    return _decide(counts, cells, chosen, alpha, (shown_below, units_below))


def _decide(
    counts: Counts,
    cells: Cells,
    chosen: NDArray[np.int64],
    alpha: float,
    tests: tuple[Callable[..., NDArray[np.bool_]], Callable[[Units, float, float], bool]],
) -> NDArray[np.bool_]:
    (exact, bet), limit = tests, cells.limit
    decided = np.zeros((len(counts.trial_ids), len(chosen)), dtype=np.bool_)
    if decided.size == 0:
        return decided
    clustered = cells.clustered[chosen]
    single = chosen[~clustered]
    if single.size:
        decided[:, ~clustered] = exact(
            counts.lost[:, single], counts.gained[:, single], cells.n[single], limit[single], alpha
        )
    for column in np.flatnonzero(clustered):
        cell = int(chosen[column])
        if cell not in counts.clusters:
            continue
        for row in range(len(counts.trial_ids)):
            decided[row, column] = bet(counts.units(cell, row), float(limit[cell]), alpha)
    return decided


def cell_intervals(counts: Counts, cells: Cells, alpha: float) -> NDArray[np.float64]:
    """Intervals of the only trial that hold together for all cells (Bonferroni), shape (cells, 2).

    A clustered cell whose clusters are not known has the interval (-1, 1): nothing is shown.
    """
    share = alpha / max(len(cells), 1)
    rows = []
    for i in range(len(cells)):
        if i in counts.clusters:
            rows.append(units_interval(counts.units(i, 0), share))
        elif cells.clustered[i]:
            rows.append((-1.0, 1.0))
        else:
            lost, gained = int(counts.lost[0, i]), int(counts.gained[0, i])
            rows.append(drop_interval(lost, gained, int(cells.n[i]), share))
    # Nine digits: what lies beyond depends on the processor.
    return np.round(np.array(rows, dtype=np.float64).reshape(len(rows), 2), 9)


def accuracy_lower_bound(correct: int, n: int, alpha: float) -> float:
    """Exact one-sided (Clopper-Pearson) lower bound of an accuracy; samples are independent.

    Examples:
        >>> round(accuracy_lower_bound(95, 100, 0.05), 4)
        0.8977
    """
    return clopper_pearson(correct, n, 2 * alpha)[0]


def clustered_accuracy_lower_bound(
    size: NDArray[np.float64], correct: NDArray[np.float64], alpha: float
) -> float:
    """One-sided lower bound of an accuracy where only clusters are independent.

    Errors are bet on as losses are (:mod:`.betting`): exact at any number of clusters, whatever
    happens within one. ``size`` and ``correct`` count samples per cluster, shape (clusters,).
    """
    return 1 - upper_bound(Units.of(size, np.asarray(size) - np.asarray(correct)), alpha)


def cell_lower_bound(
    cells: Cells, counts: Counts, cell: int, alpha: float, row: int | None = None
) -> float | None:
    """Lower bound of an accuracy in one cell, of the trial in ``row`` or of the float model.

    Returns:
        The bound; None where samples are clustered and their clusters are not known.
    """
    found = counts.clusters.get(cell)
    if found is not None:
        right = found.right if row is None else found.right - found.of_trial(row)
        return round(clustered_accuracy_lower_bound(found.size, right, alpha), 9)
    if cells.clustered[cell]:
        return None
    n = int(counts.n[cell])
    correct = round(float(counts.float_accuracy[cell]) * n)
    if row is not None:
        correct -= int(counts.lost[row, cell] - counts.gained[row, cell])
    return round(accuracy_lower_bound(correct, n, alpha), 9)


def above_floor(cells: Cells, audit: Counts, policy: Policy, classes: int) -> Cells:
    """Leave out of the judged cells those whose float accuracy is not shown above its floor.

    ``audit`` holds clusters where samples have them; the policy's ``alpha`` is the error of each
    bound, and floors are relative to chance among ``classes``.
    """
    floor = np.array([policy.float_floor.of(level, classes) for level in cells.levels], np.float64)
    at_floor = np.zeros(len(cells), dtype=np.bool_)
    for i in np.flatnonzero(cells.judged):
        bound = cell_lower_bound(cells, audit, int(i), policy.alpha)
        at_floor[i] = bound is not None and bound <= floor[i]
    return replace(cells, judged=cells.judged & ~at_floor, at_floor=at_floor, float_floor=floor)


def check_float_model(
    right: int, n: int, policy: Policy, classes: int, *, noun: str = "audit images"
) -> None:
    """Refuse an audit whose float model is not shown to be better than chance, before any trial.

    It is ``right`` on so many of the ``n`` clean audit images, or of what ``noun`` says.

    Raises:
        InputError: With the accuracy, the floor, and what to look at.
    """
    floor = policy.float_floor.of("average", classes)
    if n == 0 or accuracy_lower_bound(right, n, policy.alpha) > floor:
        return
    chance = f" (chance is {100 / classes:.3g} %)" if classes else ""
    raise InputError(
        f"the float model is right on {100 * right / n:.1f} % of the {n:,} {noun}, which "
        f"does not show more than the floor of {100 * floor:.1f} %{chance}: it has nothing to "
        "lose, so nothing can be judged. Check the preprocessing (channel order, mean, std, "
        "resize), the labels and the order of the classes; worst_case_check.float_floor.average "
        "sets another floor."
    )
