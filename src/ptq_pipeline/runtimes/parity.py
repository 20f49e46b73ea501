"""How far two runtimes agree on the same images, class by class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ptq_pipeline.errors import InputError


def parity(
    reference_top1: np.ndarray,
    other_top1: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
) -> pd.DataFrame:
    """Compare two runtimes' answers for each true class.

    Args:
        reference_top1: int ``(n,)`` answers of the reference, the simulated runtime.
        other_top1: int ``(n,)`` answers of the other runtime on the same images.
        labels: int ``(n,)`` true classes, indices into ``classes``.
        classes: names in label order.

    Returns:
        One row per class with ``class``, ``n``, ``agreement`` (share of equal answers),
        ``reference_accuracy``, ``other_accuracy`` and ``difference`` (other minus reference), all
        shares in [0, 1]. A class without images has NaN, never 0 or 1.

    Raises:
        InputError: the arrays differ in length, or a label is outside ``classes``.
    """
    if not len(reference_top1) == len(other_top1) == len(labels):
        raise InputError(
            f"parity: {len(reference_top1)} and {len(other_top1)} answers for {len(labels)} labels"
        )
    if len(labels) and not 0 <= labels.min() <= labels.max() < len(classes):
        raise InputError(f"parity: a label is outside the {len(classes)} classes")

    def share(hits: np.ndarray) -> np.ndarray:
        sums = np.bincount(labels, weights=hits, minlength=len(classes))
        return np.divide(sums, n, out=np.full(len(classes), np.nan), where=n > 0)

    n = np.bincount(labels, minlength=len(classes))
    reference, other = share(reference_top1 == labels), share(other_top1 == labels)
    return pd.DataFrame(
        {
            "class": list(classes),
            "n": n,
            "agreement": share(reference_top1 == other_top1),
            "reference_accuracy": reference,
            "other_accuracy": other,
            "difference": other - reference,
        }
    )
