"""How many draws may stay unproven: the error of PASS over repeated calibration draws.

``K`` independent draws are each judged on the *same* audit images. A draw is bad (with probability
``p``) when some judged group truly loses more than its limit; it is *shown good* by tests of level
``alpha_image``, so a bad draw is shown good with probability at most ``alpha_image`` over the
images. The recipe passes when at most ``k`` of the ``K`` draws are not shown good.

Image error is shared by all draws and does not average out. Let ``a(D)`` be the probability that a
bad draw is shown good on the audit images ``D``; all that is known of it is ``E[a] <=
alpha_image``, so it may be 1 on unlucky images and 0 on the others. Given ``D`` the draws are
independent, and each is not shown good with probability at least ``p * (1 - a(D))``. Hence::

    P(PASS) <= E[f(a(D))],    f(a) = P(Bin(K, p * (1 - a)) <= k)

and the largest value over every law of ``a(D)`` with that mean is the concave envelope of ``f`` at
``alpha_image``. This holds for any dependence that the shared images bring. Since ``f`` falls as
``p`` grows, the error of PASS over all ``p >= p0`` is the value at ``p0``. At ``K = 50``, ``k =
1``, ``p0 = 0.1`` and ``alpha_image = 0.015`` it is 4.9 %.

Without the independence of the draws given the images, Markov's inequality on the ``N`` bad draws
would still give a bound, 5.3 % in that example::

    P(N <= k) + sum over m > k of P(N = m) * min(1, alpha_image * m / (m - k))
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import special

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.statistics.envelope import GRID, Envelope
from ptq_pipeline.statistics.sampling import EVERYTHING, Sampling

# With a smaller share of alpha for the images, tests of groups would have no power.
SMALLEST_IMAGE_SHARE = 0.1
# Room for one more draw that is not shown good may cost so much of the images' level, not more.
SHARE_BESIDE_ROOM = 0.7
# Image level when the draws are too few for PASS: the draws' own error keeps the rest.
FALLBACK_IMAGE_SHARE = 0.3
MOST_DRAWS = 100_000


@dataclass(frozen=True)
class DrawSplit:
    """How the error budget is split between images and draws.

    Attributes:
        draws: Distinct draws judged, K.
        p0: Largest share of bad draws that is acceptable.
        alpha: Budget of PASS.
        allowed: Draws that may stay not shown good, k; -1 when no PASS is possible.
        alpha_image: Level of each draw's tests on the audit images.
        alpha_draw: ``P(N <= k)`` at ``p0``; 0 when no PASS is possible.
        total_error: Largest probability of a wrong PASS over ``p >= p0``; 0 when none is possible.
        needed_draws: Smallest K at which PASS is possible.
        sampling: Which draws are evaluated in part, and what that may err.
    """

    draws: int
    p0: float
    alpha: float
    allowed: int
    alpha_image: float
    alpha_draw: float
    total_error: float
    needed_draws: int
    sampling: Sampling = EVERYTHING

    @property
    def pass_possible(self) -> bool:
        """Whether any outcome of this many draws can be a PASS."""
        return self.allowed >= 0


def false_pass_bound(
    draws: int, allowed: int, alpha_image: float, p_bad: float, sampling: Sampling = EVERYTHING
) -> float:
    """Bound of the module docstring: a recipe with this share of bad draws passes as often at most.

    Examples:
        >>> round(false_pass_bound(50, 1, 0.015, 0.1), 3)
        0.049
    """
    return _errors(draws, allowed, p_bad, sampling).largest_mean(alpha_image)


@lru_cache(maxsize=1024)
def _errors(draws: int, allowed: int, p_bad: float, sampling: Sampling = EVERYTHING) -> Envelope:
    return Envelope.of(sampling.few_open(draws, allowed, p_bad * (1 - GRID)))


def _leaves_enough(
    draws: int, allowed: int, p0: float, alpha: float, sampling: Sampling = EVERYTHING
) -> bool:
    level = _errors(draws, allowed, p0, sampling).mean_for(alpha)
    return level >= SHARE_BESIDE_ROOM * alpha


@lru_cache(maxsize=256)
def split_budget(draws: int, p0: float, alpha: float, sampling: Sampling = EVERYTHING) -> DrawSplit:
    """Choose how many draws may stay not shown good, and the level of each draw's tests.

    ``k`` is the largest that leaves seven tenths of ``alpha`` to the images, or else 0: room for an
    unlucky draw makes PASS robust, but a small image level makes every limit harder to show.

    When no PASS is possible ``allowed`` is -1, ``alpha_image`` is 0.3 ``alpha`` so that what the
    draws do show can still be said, and ``needed_draws`` says how many would do.

    Raises:
        InputError: If an argument is out of range.
    """
    if draws < 1 or not 0 < p0 < 1 or not 0 < alpha < 0.5:
        raise InputError(
            f"The draw budget needs draws >= 1, 0 < p0 < 1 and 0 < alpha < 0.5, "
            f"got draws={draws}, p0={p0}, alpha={alpha}."
        )
    needed = smallest_passing_draws(p0, alpha, sampling)
    if draws < needed:
        level = FALLBACK_IMAGE_SHARE * alpha
        return DrawSplit(draws, p0, alpha, -1, level, 0.0, 0.0, needed, sampling)
    # The level falls as k grows.
    rooms = range(1, draws)
    allowed = bisect_left(
        rooms, True, key=lambda k: not _leaves_enough(draws, k, p0, alpha, sampling)
    )
    level = _errors(draws, allowed, p0, sampling).mean_for(alpha)
    return DrawSplit(
        draws=draws,
        p0=p0,
        alpha=alpha,
        allowed=allowed,
        alpha_image=level,
        alpha_draw=float(special.bdtr(allowed, draws, p0)),
        total_error=false_pass_bound(draws, allowed, level, p0, sampling),
        needed_draws=needed,
        sampling=sampling,
    )


@lru_cache(maxsize=64)
def smallest_passing_draws(p0: float, alpha: float, sampling: Sampling = EVERYTHING) -> int:
    """Smallest number of draws that, all shown good, leave a tenth of ``alpha`` to the images."""
    level = SMALLEST_IMAGE_SHARE * alpha
    # At k = 0 the envelope is q + (1 - q) * alpha_image with q = (1 - p0)**K, and with sampled
    # draws q = (1 - p0)**m * (1 - p0 * (1 - error))**(K - m).
    share = np.log((alpha - level) / (1 - level))
    full = min(sampling.full, int(np.ceil(share / np.log1p(-p0))))
    sampled = (share - full * np.log1p(-p0)) / np.log1p(-p0 * (1 - sampling.error))
    return min(full + max(int(np.ceil(sampled)), 0), MOST_DRAWS)


@lru_cache(maxsize=4096)
def share_of_good_draws(
    draws: int,
    not_shown_good: int,
    alpha_image: float,
    alpha: float,
    sampling: Sampling = EVERYTHING,
) -> float:
    """Lower confidence bound of the share of good draws, at error ``alpha``.

    Inverts the bound of :func:`false_pass_bound`: it is a valid p-value of "the share of bad draws
    is ``p``" when taken at the observed number of draws not shown good, because it rises with that
    number.

    Returns:
        The bound in [0, 1]; 0 says that nothing is shown.

    Examples:
        >>> round(share_of_good_draws(3, 0, 0.015, 0.05), 2)
        0.33
    """
    if not_shown_good >= draws or alpha_image >= alpha:
        return 0.0
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        bound = false_pass_bound(draws, not_shown_good, alpha_image, middle, sampling)
        possible = bound > alpha
        low, high = (middle, high) if possible else (low, middle)
    # To the nine digits that the search is good for, so that a PASS shows 1 - p0 and no less.
    return round(1 - high, 9)


def draws_for_pass(
    not_shown_good_share: float, p0: float, alpha: float, most: int = 2000
) -> int | None:
    """About the smallest number of draws that would PASS if the share not shown good persisted.

    None when no number up to ``most`` would do.
    """
    if not_shown_good_share >= p0:
        return None
    draws = smallest_passing_draws(p0, alpha)
    while draws <= most:
        open_draws = int(np.ceil(not_shown_good_share * draws - 1e-9))
        if open_draws == 0 or _leaves_enough(draws, open_draws, p0, alpha):
            return draws
        draws += max(1, draws // 20)
    return None
