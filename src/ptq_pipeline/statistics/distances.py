"""Distances between two samples of one column, and how large chance makes them.

Great Expectations and Evidently report these numbers; the same formulas are written here so that
thousands of resamples cost a second. A test holds them together.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import special

from ptq_pipeline.core.errors import InputError

WASSERSTEIN = "wasserstein"
JENSEN_SHANNON = "jensenshannon"
METHODS = (WASSERSTEIN, JENSEN_SHANNON)
# Evidently divides by the reference's standard deviation, but never by less than this.
SMALLEST_SCALE = 0.001


def distance(method: str, reference: pd.Series, current: pd.Series) -> float:
    """Return the distance of two samples; larger is further apart, 0 is the same distribution.

    Args:
        method: ``wasserstein`` for numbers or ``jensenshannon`` for categories, see
            :func:`normed_wasserstein` and :func:`jensen_shannon`.
        reference: ``(R,)`` values.
        current: ``(N,)`` values.

    Raises:
        ValueError: for another method.
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {METHODS}, got '{method}'")
    support, codes = located(method, pd.concat([reference, current]))
    counts = [
        np.bincount(part, minlength=len(support)).astype(float)
        for part in np.split(codes, [len(reference)])
    ]
    return weighted_distance(method, support, *counts)


def located(method: str, values: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return the different values ``(K,)`` in increasing order, and the place of each value."""
    kind = float if method == WASSERSTEIN else str
    return np.unique(values.astype(kind).to_numpy(kind), return_inverse=True)


def weighted_distance(
    method: str, support: np.ndarray, reference: np.ndarray, current: np.ndarray
) -> float:
    """Return the distance of two weightings ``(K,)`` of the same values."""
    if method == WASSERSTEIN:
        return normed_wasserstein(support, reference, current)
    return jensen_shannon(reference, current)


def normed_wasserstein(support: np.ndarray, reference: np.ndarray, current: np.ndarray) -> float:
    """Return the first Wasserstein distance in units of the reference's standard deviation.

    Args:
        support: ``(K,)`` increasing values.
        reference: ``(K,)`` weights of the reference at these values.
        current: ``(K,)`` weights of the current sample.
    """
    p, q = reference / reference.sum(), current / current.sum()
    gap = np.abs(np.cumsum(p - q)[:-1]) @ np.diff(support)
    centre = p @ support
    scale = np.sqrt(p @ (support - centre) ** 2)
    return float(gap / max(scale, SMALLEST_SCALE))


def jensen_shannon(reference: np.ndarray, current: np.ndarray) -> float:
    """Return the Jensen-Shannon distance of two weight vectors ``(K,)``, at most 0.833.

    The square root of the divergence in nats (Endres and Schindelin, IEEE Transactions on
    Information Theory 49(7), 2003).
    """
    bits = js_divergence(reference / reference.sum(), current / current.sum())
    return float(np.sqrt(np.log(2) * bits))


def js_divergence(shares: ArrayLike, reference: ArrayLike) -> np.ndarray:
    """Return the Jensen-Shannon divergence in bits, between 0 and 1, of shares ``(..., c)``.

    Lin, IEEE Transactions on Information Theory 37(1), 1991. Unlike Kullback-Leibler's it stays
    finite when one side never shows a category.
    """
    p, q = np.asarray(shares, np.float64), np.asarray(reference, np.float64)
    divergence = entropy((p + q) / 2) - (entropy(p) + entropy(q)) / 2
    return np.clip(divergence, 0.0, 1.0)


def entropy(shares: np.ndarray) -> np.ndarray:
    """Return the entropy in bits of shares ``(..., c)``."""
    logs = np.log2(shares, out=np.zeros_like(shares), where=shares > 0)
    return -(shares * logs).sum(-1)


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


def category_shares(values: Sequence[str] | np.ndarray, categories: Sequence[str]) -> np.ndarray:
    """Return the share of each category, and of everything else as the last entry, ``(c + 1,)``."""
    index = {name: position for position, name in enumerate(categories)}
    codes = [index.get(str(value), len(categories)) for value in values]
    return np.bincount(codes, minlength=len(categories) + 1) / len(codes)


def joint_thresholds(distances: np.ndarray, level: float) -> tuple[np.ndarray, float]:
    """Choose one threshold per column so that few draws exceed any of them.

    The columns have a common level: the largest at which no more than ``level`` of the draws exceed
    any threshold (min-p, Westfall and Young 1993), which respects how the columns go together.

    Args:
        distances: ``(draws, columns)`` distances that chance alone makes.
        level: largest share of draws that may exceed at least one threshold, in (0, 1).

    Returns:
        ``(columns,)`` thresholds (exceeding means strictly above), and their common level: the
        share of draws at which each column alone would be exceeded, 0 if none may be.
    """
    draws = len(distances)
    ordered = np.sort(distances, axis=0)
    at_least = np.stack(
        [
            draws - np.searchsorted(ordered[:, column], distances[:, column], side="left")
            for column in range(distances.shape[1])
        ],
        axis=1,
    )
    rarest = np.sort(at_least.min(1))
    allowed = int(np.floor(level * draws))
    # A draw fails if one of its distances is reached by `tail` draws or fewer; ties stay together.
    tail = int(rarest[allowed]) - 1
    kept = np.where(at_least > tail, distances, -np.inf)
    return kept.max(0), tail / draws


def output_divergence(
    float_logits: np.ndarray | None, quantized_logits: np.ndarray | None, groups: np.ndarray
) -> pd.DataFrame:
    """Kullback-Leibler divergence of softmax outputs, float against quantized, per group.

    Args:
        float_logits: ``(samples, classes)``; None where they were not kept.
        quantized_logits: The same for the quantized model.
        groups: ``(samples,)`` group of each sample.

    Returns:
        ``group``, ``n``, ``mean``, ``largest`` in nats, the largest mean first. A description, no
        bound: a few samples can dominate it.

    Raises:
        InputError: If logits were not kept, or the shapes differ.

    Examples:
        >>> same = np.array([[2.0, 0.0], [0.0, 1.0]])
        >>> output_divergence(same, same, np.array(["a", "b"]))["mean"].tolist()
        [0.0, 0.0]
    """
    if float_logits is None or quantized_logits is None:
        which = "those of the float model" if float_logits is None else "the quantized ones"
        raise InputError(
            f"Divergence of outputs needs the logits of both models, and {which} were not kept: "
            "trials keep top-1 answers. Predict with logits, or leave the metric out."
        )
    if float_logits.shape != quantized_logits.shape or len(groups) != len(float_logits):
        raise InputError(
            f"Logits have the shapes {float_logits.shape} and {quantized_logits.shape}, and "
            f"{len(groups)} samples have a group; they must agree."
        )
    log_p, log_q = (
        special.log_softmax(logits.astype(np.float64), axis=1)
        for logits in (float_logits, quantized_logits)
    )
    values = pd.Series(np.maximum((np.exp(log_p) * (log_p - log_q)).sum(axis=1), 0.0))
    found = values.groupby(pd.Series(groups, name="group"), sort=True)
    table = found.agg(n="size", mean="mean", largest="max").reset_index()
    return table.sort_values("mean", ascending=False, kind="stable", ignore_index=True)
