"""What a runtime is: it turns a prepared model and its parameters into something that predicts."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.provenance import cpu_flags
from ptq_pipeline.ptq import PreparedModel, QuantizationParameters

# A layer's activations of so many small images stay in the cache of a core.
BATCH_SIZE = 50


@runtime_checkable
class Predictor(Protocol):
    """A model that is ready to run.

    One that may be called from several threads at a time says from how many in an attribute
    ``streams``.
    """

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """Return logits, float32 ``(n, classes)``, for a float32 ``(n, C, H, W)`` batch."""
        ...


@runtime_checkable
class Runtime(Protocol):
    """Where quantized models run."""

    @property
    def name(self) -> str:
        """Name in configuration and in trial ids."""
        ...

    @property
    def version(self) -> str:
        """Version of the library that executes, part of trial ids."""
        ...

    @property
    def options(self) -> dict[str, Any]:
        """Keyword arguments of `build_runtime` for an equal runtime in another process."""
        ...

    def description(self) -> dict[str, Any]:
        """Return plain values that tell where results came from: CPU flags, threads, versions."""
        ...

    def compile(
        self, prepared: PreparedModel, parameters: QuantizationParameters | None
    ) -> Predictor:
        """Return a predictor of the quantized model, or of the float model without parameters."""
        ...


def calibration_description() -> dict[str, Any]:
    """Return what calibration in torch rounds by, whatever executes the model afterwards."""
    return {
        "torch": str(torch.__version__),
        "torch_threads": torch.get_num_threads(),
        "cpu_flags": cpu_flags(),
    }


def predict_top1(
    predictor: Predictor,
    images: np.ndarray,
    preprocessing: Callable[[np.ndarray], np.ndarray],
    batch_size: int = BATCH_SIZE,
    rows: np.ndarray | None = None,
) -> np.ndarray:
    """Predict the class of each image, converting to float one batch at a time.

    Batches run side by side on the predictor's streams.

    Args:
        predictor: the model.
        images: uint8 ``(N, C, H, W)``, may be memory-mapped.
        preprocessing: from uint8 to float32 of the same shape.
        batch_size: images per call.
        rows: int ``(n,)`` rows of ``images`` to predict, in this order; all when left out.

    Returns:
        int32 ``(n,)``: the class with the largest logit, the first one on ties.

    Raises:
        InputError: a logit is NaN; the message names the first image.
    """
    rows = np.arange(len(images)) if rows is None else np.asarray(rows)
    whole = len(rows) == len(images) and bool((rows == np.arange(len(images))).all())
    predicted = np.empty(len(rows), np.int32)

    def answer(start: int) -> None:
        chosen = rows[start : start + batch_size]
        batch = images[start : start + batch_size] if whole else images[chosen]
        logits = predictor(preprocessing(np.asarray(batch)))
        # argmax passes a NaN on, so looking at the largest logit is enough.
        best = logits.argmax(1)
        bad = np.isnan(logits[np.arange(len(logits)), best])
        if bad.any():
            raise InputError(
                f"the model returns NaN logits for image {int(chosen[bad.argmax()])}; check its "
                "weights and the preprocessing"
            )
        predicted[start : start + batch_size] = best

    starts = range(0, len(rows), batch_size)
    streams = min(getattr(predictor, "streams", 1), len(starts))
    if streams <= 1:
        for start in starts:
            answer(start)
        return predicted
    with ThreadPoolExecutor(streams, thread_name_prefix="stream") as threads:
        # In order, so an error names the first image; those after it are not started.
        for _ in threads.map(answer, starts):
            pass
    return predicted
