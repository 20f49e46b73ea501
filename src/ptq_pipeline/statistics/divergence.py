"""How far the quantized outputs are from the float model's, where logits of both are kept."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from ptq_pipeline.core.errors import InputError

NOT_KEPT = (
    "Divergence of outputs needs the logits of both models, and {which} were not kept: trials keep "
    "top-1 answers. Predict with logits, or leave the metric out."
)


def output_divergence(
    float_logits: NDArray[np.floating] | None,
    quantized_logits: NDArray[np.floating] | None,
    groups: NDArray[np.str_],
) -> pd.DataFrame:
    """Kullback-Leibler divergence of softmax outputs, float against quantized, per group.

    Args:
        float_logits: Shape (samples, classes); None where they were not kept.
        quantized_logits: The same for the quantized model.
        groups: Group per sample, shape (samples,).

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
        raise InputError(NOT_KEPT.format(which=which))
    if float_logits.shape != quantized_logits.shape or len(groups) != len(float_logits):
        raise InputError(
            f"Logits have the shapes {float_logits.shape} and {quantized_logits.shape}, and "
            f"{len(groups)} samples have a group; they must agree."
        )
    log_p = special.log_softmax(float_logits.astype(np.float64), axis=1)
    log_q = special.log_softmax(quantized_logits.astype(np.float64), axis=1)
    values = np.maximum((np.exp(log_p) * (log_p - log_q)).sum(axis=1), 0.0)
    table = pd.DataFrame({"group": groups, "value": values}).groupby("group", sort=True)["value"]
    found = table.agg(n="size", mean="mean", largest="max").reset_index()
    return found.sort_values("mean", ascending=False, kind="stable", ignore_index=True)
