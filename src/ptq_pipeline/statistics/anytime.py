"""FAIL at any time: refuse a hopeless recipe after a few draws, with a guarded error.

The hypothesis is that the recipe is acceptable: ``P(bad draw) <= p0``. A draw is *shown bad* when
some cell, judged or not, is shown to lose more than its limit. The level is ``eps`` for all cells
together (:mod:`ptq_pipeline.judgement.judging`), so a draw that is not bad is shown bad with
probability at most ``eps`` over the audit images.

All draws are judged on the same audit images ``D``. Given ``D`` the draws are still independent and
identically distributed, and under the hypothesis each is shown bad with probability::

    q(D) <= p0 + (1 - p0) * b(D),    b(D) = P(shown bad | not bad, D),    E[b] <= eps

FAIL is declared when the number of draws shown bad reaches a boundary ``c_n`` at any ``n`` up to a
horizon ``H``. Let ``g(q)`` be the probability of that for independent draws shown bad with
probability ``q``: a finite sum, found by following the count from draw to draw. ``g`` rises with
``q``, so the error is at most the mean of ``f(b) = g(p0 + (1 - p0) * b)``, and its largest value
over every law of ``b(D)`` with mean ``eps`` is the concave envelope of ``f`` at ``eps``. The
envelope is kept at ``alpha_fail``, which fixes ``eps``. Within the horizon one may look after every
draw.

The boundary is where a likelihood ratio mixed uniformly over alternatives ``q`` in ``(q0, 1)``,
with ``q0 = p0 + margin``, reaches ``1 / alpha_seq``. For ``s`` shown bad out of ``n`` it is::

    e_n = 1 / (1 - q0) * integral from q0 to 1 of (q / q0)**s * ((1 - q) / (1 - q0))**(n - s) dq

That gives a good shape; the error is that of the boundary, whatever it comes from. With ``p0 =
0.1``, ``q0 = 0.2``, ``alpha_seq = 0.025`` and ``H = 50``, four draws that are all shown bad are
enough, and ``eps`` is 0.0226. (Markov's inequality on ``b`` instead of the envelope, with Ville's
on ``e_n``, holds for any number of draws, but leaves an ``eps`` of 0.0025.)

See Ville (1939) and, for mixtures, Robbins (1970), "Statistical methods related to the law of the
iterated logarithm", Annals of Mathematical Statistics 41.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import special

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.statistics.envelope import GRID, Envelope

# The boundary is built for shares of bad draws that exceed p0 by this much: those are worth
# refusing early.
MARGIN = 0.1
LEAST_HORIZON = 50


@dataclass(frozen=True)
class FailBudget:
    """How the error of FAIL is split.

    Attributes:
        p0: Acceptable share of bad draws.
        boundary: Per number of draws, how many shown bad are a FAIL; one more than the draws where
            none is possible. Its length is the horizon: draws beyond it refuse nothing.
        alpha_images: ``eps``, level at which a draw is shown bad, at most that of FAIL itself.
    """

    p0: float
    boundary: tuple[int, ...]
    alpha_images: float


@lru_cache(maxsize=64)
def fail_budget(p0: float, alpha_fail: float, draws: int) -> FailBudget:
    """Fix the boundary for a study of so many draws, and the largest level of a draw.

    The horizon is at least 50 draws, so that a look at fewer of them asks the same question.

    Raises:
        InputError: If an argument is out of range.
    """
    if not 0 < p0 < 1 or not 0 < alpha_fail < 0.5 or draws < 1:
        raise InputError(
            f"The budget of FAIL needs 0 < p0 < 1, 0 < alpha_fail < 0.5 and draws >= 1, "
            f"got p0={p0}, alpha_fail={alpha_fail}, draws={draws}."
        )
    q0 = p0 + min(MARGIN, (1 - p0) / 2)
    boundary = _boundary(q0, alpha_fail / 2, max(draws, LEAST_HORIZON))
    # Where no count can refuse the recipe, the level of a draw is still that of a test.
    return FailBudget(p0, boundary, min(alpha_fail, _errors(boundary, p0).mean_for(alpha_fail)))


def _boundary(q0: float, alpha: float, horizon: int) -> tuple[int, ...]:
    needed, count = [], 0
    for draws in range(1, horizon + 1):
        while count <= draws and log_e_value(count, draws, q0) < -np.log(alpha):
            count += 1
        needed.append(count)
    return tuple(needed)


@lru_cache(maxsize=64)
def _errors(boundary: tuple[int, ...], p0: float) -> Envelope:
    return Envelope.of(chance_to_reach(boundary, p0 + (1 - p0) * GRID))


def chance_to_reach(boundary: tuple[int, ...], q: NDArray[np.float64]) -> NDArray[np.float64]:
    """Chance that the count of draws shown bad is ever at the boundary, shape as ``q``."""
    going = np.zeros((q.size, max(boundary) + 1))
    going[:, 0] = 1.0
    for needed in boundary:
        # Only counts below the boundary go on.
        bad = going[:, : needed - 1] * q[:, None]
        going[:, :needed] *= (1 - q)[:, None]
        going[:, 1:needed] += bad
        going[:, needed:] = 0.0
    return 1 - going.sum(axis=1)


def log_e_value(shown_bad: int, draws: int, q0: float) -> float:
    """``log e_n`` after ``draws`` draws of which ``shown_bad`` are shown bad; 0 before any draw.

    Examples:
        >>> round(float(np.exp(log_e_value(4, 4, 0.2))), 1)
        156.2
    """
    a, b = shown_bad + 1, draws - shown_bad + 1
    upper_tail = float(special.betaincc(a, b, q0))
    if upper_tail <= 0:
        return -np.inf
    log_integral = float(special.betaln(a, b)) + np.log(upper_tail)
    return float(
        log_integral - np.log1p(-q0) - shown_bad * np.log(q0) - (draws - shown_bad) * np.log1p(-q0)
    )


def failing_draw(shown_bad: Sequence[bool], budget: FailBudget) -> int | None:
    """The number of draws after which FAIL is declared, None if it never is.

    That is when the count reaches the boundary; ``shown_bad`` has one entry per draw, in the order
    in which the draws were made.
    """
    counts = np.cumsum(np.asarray(shown_bad, dtype=np.int64)[: len(budget.boundary)])
    reached = np.flatnonzero(counts >= np.array(budget.boundary[: counts.size]))
    return int(reached[0]) + 1 if reached.size else None
