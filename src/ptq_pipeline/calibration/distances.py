"""Distances between a calibration set and the production reference."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike


def ks_distance(values: ArrayLike, edges: ArrayLike, reference_cdf: ArrayLike) -> float:
    """Return the two-sample Kolmogorov-Smirnov distance, looked up at the reference's quantiles.

    ``max_i |F_set(edges_i) - F_reference(edges_i)|``: the distance of Smirnov (1939), with the
    maximum over given points instead of all. It is at most the exact distance.

    Args:
        values: ``(n,)`` finite numbers.
        edges: ``(q,)`` increasing values of the reference.
        reference_cdf: ``(q,)`` shares of the reference at or below each edge.
    """
    ordered = np.sort(np.asarray(values, np.float64))
    cdf = np.searchsorted(ordered, np.asarray(edges), side="right") / len(ordered)
    return float(np.abs(cdf - np.asarray(reference_cdf)).max())


def js_divergence(shares: ArrayLike, reference: ArrayLike) -> np.ndarray:
    """Return the Jensen-Shannon divergence in bits, between 0 and 1.

    Lin, IEEE Transactions on Information Theory 37(1), 1991. Unlike Kullback-Leibler's it stays
    finite when one side never shows a category.

    Args:
        shares: ``(..., c)`` shares that add to 1.
        reference: ``(..., c)`` shares that add to 1.

    Returns:
        ``(...)`` float64.
    """
    p, q = np.asarray(shares, np.float64), np.asarray(reference, np.float64)
    divergence = _entropy((p + q) / 2) - (_entropy(p) + _entropy(q)) / 2
    return np.clip(divergence, 0.0, 1.0)


def _entropy(shares: np.ndarray) -> np.ndarray:
    logs = np.log2(shares, out=np.zeros_like(shares), where=shares > 0)
    return -(shares * logs).sum(-1)


def category_shares(values: Sequence[str] | np.ndarray, categories: Sequence[str]) -> np.ndarray:
    """Return the share of each category, and of everything else as the last entry, ``(c + 1,)``."""
    index = {name: position for position, name in enumerate(categories)}
    codes = [index.get(str(value), len(categories)) for value in values]
    return np.bincount(codes, minlength=len(categories) + 1) / len(codes)
