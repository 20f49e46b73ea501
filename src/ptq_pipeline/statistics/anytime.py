"""FAIL at any time: refuse a hopeless recipe after a few draws, with a guarded error.

The hypothesis is that the recipe is acceptable: ``P(bad draw) <= p0``. A draw is *shown bad* when
some judged cell's mirrored exact test rejects at level ``eps / cells`` (Bonferroni within the
draw), so a draw that is not bad is shown bad with probability at most ``eps`` over the audit
images.

All draws are judged on the same audit images ``D``. Given ``D`` the draws are still independent and
identically distributed, and under the hypothesis each is shown bad with probability::

    q(D) = P(shown bad | D) <= P(bad) + P(shown bad and not bad | D) <= p0 + r(D)

Averaged over the images, ``E[r] = P(shown bad and not bad) <= eps``, so Markov's inequality gives
``P(r >= d) <= eps / d`` for any margin ``d``. Apart from that event ``q(D) <= p0 + d``, and this is
tested by a likelihood-ratio process mixed uniformly over alternatives ``q`` in ``(p0 + d, 1)``.
With ``q0 = p0 + d`` and ``s`` shown bad out of ``n``::

    e_n = 1 / (1 - q0) * integral from q0 to 1 of (q / q0)**s * ((1 - q) / (1 - q0))**(n - s) dq

Each factor has expectation ``1 + (q_true - q0) * (q - q0) / (q0 * (1 - q0)) <= 1`` when ``q_true <=
q0``, so ``e_n`` is a nonnegative supermartingale with mean at most 1, and by Ville's inequality it
ever reaches ``1 / alpha_seq`` with probability at most ``alpha_seq``. The whole error is at most::

    eps / d + alpha_seq = alpha_fail

FAIL may therefore be declared after any draw, however often one looks. With ``p0 = 0.1``, ``d =
0.1``, ``eps = 0.0025`` and ``alpha_seq = 0.025``, four draws that are all shown bad are enough.

See Ville (1939) and, for mixtures, Robbins (1970), "Statistical methods related to the law of the
iterated logarithm", Annals of Mathematical Statistics 41.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from scipy import special

from ptq_pipeline.core.errors import InputError


@dataclass(frozen=True)
class FailBudget:
    """How the error of FAIL is split.

    Attributes:
        p0: Acceptable share of bad draws.
        margin: ``d``, what the shared images may add to the share of draws shown bad.
        alpha_images: ``eps``, chance that a draw which is not bad is shown bad.
        alpha_sequence: Error of the sequential test.
    """

    p0: float
    margin: float
    alpha_images: float
    alpha_sequence: float

    @property
    def total_error(self) -> float:
        """Probability, at most, of refusing an acceptable recipe."""
        return self.alpha_images / self.margin + self.alpha_sequence


def fail_budget(p0: float, alpha_fail: float, margin: float = 0.1) -> FailBudget:
    """Split ``alpha_fail`` in equal halves between the images and the sequence of draws.

    The margin is reduced to half of ``1 - p0`` where that is smaller.

    Raises:
        InputError: If an argument is out of range.
    """
    if not 0 < p0 < 1 or not 0 < alpha_fail < 0.5 or margin <= 0:
        raise InputError(
            f"The budget of FAIL needs 0 < p0 < 1, 0 < alpha_fail < 0.5 and margin > 0, "
            f"got p0={p0}, alpha_fail={alpha_fail}, margin={margin}."
        )
    margin = min(margin, (1 - p0) / 2)
    return FailBudget(p0, margin, alpha_fail * margin / 2, alpha_fail / 2)


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

    That is when the e-value first reaches ``1 / alpha_sequence``; ``shown_bad`` has one entry per
    draw, in the order in which the draws were made.
    """
    threshold, q0 = -np.log(budget.alpha_sequence), budget.p0 + budget.margin
    counts = enumerate(accumulate(map(int, shown_bad)), start=1)
    reached = (draws for draws, bad in counts if log_e_value(bad, draws, q0) >= threshold)
    return next(reached, None)
