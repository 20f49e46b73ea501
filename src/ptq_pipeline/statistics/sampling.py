"""Draws of which only some answers are known: PASS for the price of a few draws.

What the audit images ``D`` show of one draw are its *full answers*. The first ``m`` of ``K`` draws
are evaluated in full, the others in part: all of their *risky* images, which only earlier draws and
the float model decide, and a random sample of the rest, in which image ``i`` is with a probability
``q_i``, independently of all others and drawn again for every draw. There are two levels of error:

- a bad draw is shown good by its full answers with probability at most ``alpha_image`` over the
  images. They are shared by all draws, so this error does not average out (see :mod:`.draws`);
- a draw that its full answers do not show good is *taken for good* with probability at most
  ``error`` over its own sample, whatever the images and the other draws are. This one does.

*Why.* Let ``a(D)`` be the probability that a bad draw is shown good on the images ``D``. Given
``D`` and all earlier draws and samples, the next draw is bad and not shown good by its full answers
with probability at least ``p * (1 - a(D))``, and then it is not taken for good with probability at
least ``1 - error``: its sample is new. So the draws that are not taken for good are at least as
many, in distribution, as independent ones with these probabilities, and::

    P(PASS) <= E[f(a(D))],   f(a) = P(Bin(m, p (1 - a)) + Bin(K - m, p (1 - a) (1 - error)) <= k)

at most the concave envelope of ``f`` at ``alpha_image``. What decides which images are risky, how
large the sample is and which of the draw's risky answers changed may enter ``q``: given ``D``, the
draw and those before it, all of it is fixed.

*One cell.* Of its images some answers are known; ``room`` is how many *more* lost ones its test
would bear, with the gained ones that are known. If the full answers do not show the cell good, more
than ``room`` losses are hidden among the images that were not looked at before the sample. Each of
them is in the sample with probability at least ``q``, so the number of those seen is at least
binomial, and ``P(Bin(room + 1, q) <= seen)`` is a p-value. It is exact, knows no other unknown, and
holds for groups of any size and for clusters: nothing is assumed about where the losses are. If a
draw is not shown good, some cell of it is not, so every cell is tested at ``error`` without a
correction. Gained answers that were not seen are not counted.

A cell that its sample leaves open is looked at in full. That costs images and no error.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

FloatArray = NDArray[np.float64]
# Lost answers per image that is not risky: what is paid for rests on it, never what may err.
EXPECTED_LOSSES = 3e-4
MOST_LOSSES = 4


@dataclass(frozen=True)
class Sampling:
    """How draws are evaluated.

    Attributes:
        full: The first draws that are evaluated in full, m.
        error: Probability, at most, that a later draw is taken for good although its full answers
            would not show it; 0 when all draws are evaluated in full.
    """

    full: int = 0
    error: float = 0.0

    def few_open(self, draws: int, allowed: int, p_open: FloatArray) -> FloatArray:
        """Probability that at most ``allowed`` of the draws are not taken for good.

        Args:
            draws: Draws, K.
            allowed: The number, k.
            p_open: Probability that the full answers of a draw do not show it good, any shape.

        Examples:
            >>> Sampling(2, 0.2).few_open(50, 0, np.array([0.1])).round(4)
            array([0.0148])
        """
        full = min(self.full, draws)
        found = np.zeros_like(p_open)
        for first in range(min(allowed, full) + 1):
            others = special.bdtr(allowed - first, draws - full, p_open * (1 - self.error))
            chosen = special.binom(full, first) * p_open**first * (1 - p_open) ** (full - first)
            found = found + chosen * others
        return found


# Every draw is evaluated in full.
EVERYTHING = Sampling()


def sample_p_value(seen: ArrayLike, room: ArrayLike, share: ArrayLike) -> FloatArray:
    """The p-value of "more than ``room`` losses are among the images that were sampled from".

    Args:
        seen: Losses in the sample, shape (cells,).
        room: Losses among the images sampled from that the cell's test would bear; below 0 when it
            bears none, shape (cells,).
        share: Smallest probability with which one of these images is in the sample, shape (cells,).

    Examples:
        >>> sample_p_value([0, 1, 0], [9, 9, -1], [0.15, 0.15, 1.0]).round(2)
        array([0.2 , 0.54, 1.  ])
    """
    seen, hidden = np.asarray(seen), np.asarray(room) + 1
    possible = np.maximum(hidden, seen + 1)
    found = special.bdtr(seen, possible, np.asarray(share, dtype=np.float64))
    return np.where(hidden > seen, found, 1.0)


def share_to_sample(room: ArrayLike, error: float, losses: ArrayLike = 0) -> FloatArray:
    """Smallest share of a cell's images that shows it when so many ``losses`` are in the sample.

    Args:
        room: As in :func:`sample_p_value`, shape (cells,).
        error: Level of the test.
        losses: Losses in the sample, at most ``room``, shape (cells,).

    Returns:
        Shape (cells,); 1 where no loss can be borne.

    Examples:
        >>> share_to_sample([9, 60, -1], 0.2).round(3)
        array([0.149, 0.026, 1.   ])
    """
    hidden, losses = np.maximum(np.asarray(room) + 1, 0), np.asarray(losses)
    # A little below, so that rounding does not decide.
    kept = special.betaincinv(np.maximum(hidden - losses, 1), losses + 1.0, error * (1 - 1e-9))
    return np.where(hidden > losses, 1 - kept, 1.0)


def cheapest_share(room: ArrayLike, left: ArrayLike, error: float) -> FloatArray:
    """The share to sample that costs least: the sample, and all other images if it does not do.

    A larger sample bears a loss in it. Few are expected where images are not risky; how many there
    are decides what is paid and not what may err.

    Args:
        room: As in :func:`sample_p_value`, shape (cells,).
        left: Images to sample from, shape (cells,).
        error: Level of the test.

    Returns:
        Shape (cells,); 0 where a loss of all images left would be borne.

    Examples:
        >>> cheapest_share([9, 60, 60], [120, 7800, 60], 0.2).round(3)
        array([0.149, 0.048, 0.   ])
    """
    room, left = np.asarray(room), np.asarray(left)
    losses = np.arange(MOST_LOSSES + 1)[:, None]
    shares = share_to_sample(room, error, losses)
    cost = shares + special.pdtrc(losses, shares * left * EXPECTED_LOSSES)
    best = np.take_along_axis(shares, cost.argmin(axis=0)[None], axis=0)[0]
    return np.where(room >= left, 0.0, best)
