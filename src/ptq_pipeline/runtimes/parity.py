"""How far two runtimes agree on the same images, class by class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ptq_pipeline.core.errors import InputError

# Answers that may differ by rounding alone: of all, of one class, and however few there are.
LARGEST_SHARE, LARGEST_CLASS_SHARE, ALWAYS_ALLOWED = 0.01, 0.03, 2


def disagreement(
    table: pd.DataFrame, share: float = LARGEST_SHARE, class_share: float = LARGEST_CLASS_SHARE
) -> str | None:
    """Return what is wrong when answers differ by more than rounding explains, or None.

    The text says how many answers differ in a table of `parity`, and in which class most of them.
    """
    n = table["n"].to_numpy()
    different = np.rint(n * (1.0 - table["agreement"].fillna(1.0))).astype(int)
    allowed = np.maximum(ALWAYS_ALLOWED, class_share * n)
    total = int(different.sum()), int(n.sum())
    if total[0] <= max(ALWAYS_ALLOWED, share * total[1]) and (different <= allowed).all():
        return None
    worst = int((different / np.maximum(n, 1)).argmax())
    return (
        f"{total[0]} of {total[1]} answers differ, {different[worst]} of {n[worst]} in class "
        f"{table['class'].iloc[worst]!r}"
    )


def parity(
    reference_top1: np.ndarray, other_top1: np.ndarray, labels: np.ndarray, classes: Sequence[str]
) -> pd.DataFrame:
    """Compare two runtimes' answers, int ``(n,)``, for each true class; labels index ``classes``.

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
