"""Concave envelopes: the largest mean of a function of which only the argument's mean is known.

Let ``a`` be a random number in [0, 1] with ``E[a] <= m`` and nothing else known, and ``f`` rise.
The largest possible ``E[f(a)]`` is the concave envelope of ``f`` at ``m``: the smallest concave
function that is nowhere below ``f`` (Jensen's inequality gives the bound, a law on the two ends of
a chord reaches it). Here ``a`` is what shared audit images do to all draws alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Finer near 0, where levels are; between neighbours a smooth function is as good as straight.
GRID: NDArray[np.float64] = np.linspace(0.0, 1.0, 1001) ** 2


@dataclass(frozen=True)
class Envelope:
    """The corners of an envelope; straight between them.

    Attributes:
        at: Arguments, increasing from 0 to 1, shape (corners,).
        value: The envelope there, not decreasing, shape (corners,).
    """

    at: NDArray[np.float64]
    value: NDArray[np.float64]

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> Envelope:
        """The envelope of a function that rises, from its values on ``GRID``.

        Examples:
            >>> steps = Envelope.of(np.where(GRID >= 0.25, 1.0, 0.0))
            >>> round(steps.largest_mean(0.1), 2), round(steps.mean_for(0.8), 2)
            (0.4, 0.2)
        """
        corners: list[int] = []
        for i in range(len(GRID)):
            while len(corners) > 1 and _below(values, corners[-2], corners[-1], i):
                corners.pop()
            corners.append(i)
        return cls(GRID[corners], values[corners])

    def largest_mean(self, mean: float) -> float:
        """Largest mean of the function when its argument's mean is at most ``mean``."""
        return float(np.interp(mean, self.at, self.value))

    def mean_for(self, largest: float) -> float:
        """Largest mean of the argument that keeps the function's mean at ``largest``.

        0 if even a mean of 0 exceeds it, 1 if no mean does.
        """
        return float(np.interp(largest, self.value, self.at))


def _below(values: NDArray[np.float64], left: int, middle: int, right: int) -> bool:
    rise = (values[right] - values[left]) * (GRID[middle] - GRID[left])
    return bool((values[middle] - values[left]) * (GRID[right] - GRID[left]) <= rise)
