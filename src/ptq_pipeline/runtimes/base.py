"""What a runtime is: it turns a prepared model and its parameters into something that predicts."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import torch

from ptq_pipeline.core.blocks import MOST_VALUES, at_a_time
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.provenance import cpu_flags
from ptq_pipeline.ptq import ModelFile, PreparedModel, QuantizationParameters
from ptq_pipeline.ptq.hooks import side_by_side
from ptq_pipeline.tasks.task import Classification

# A layer's activations of so many small images stay in the cache of a core.
BATCH_SIZE = 50
# Of a measurement of speed.
SINGLE_IMAGES, BATCHES = 50, 5


@runtime_checkable
class Predictor(Protocol):
    """A model that is ready to run.

    One that may be called from several threads at a time says from how many in an attribute
    ``streams``, and one that is slow to start how many values a batch may hold in ``most_values``.
    """

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """Return the network's output, float32, for a float32 ``(n, C, H, W)`` batch.

        One that knows classes only returns these, int64 ``(n,)``.
        """
        ...


def streams_of(predictor: Predictor) -> int:
    """From how many threads a model may be called at a time."""
    return max(getattr(predictor, "streams", 1), 1)


class Runtime(ABC):
    """Where quantized models run; not safe to share between threads, its predictors are.

    Its ``name`` is that in configuration and trial ids. Threads of inference, and of torch, which
    calibrates, are set for the whole process; None leaves them. Only the simulated runtime has
    other devices than the CPU.

    Raises:
        InputError: the device is not there, or the number of threads is not positive.
    """

    name: ClassVar[str]

    def __init__(self, device: str = "cpu", threads: int | None = None) -> None:
        if threads is not None:
            if threads < 1:
                raise InputError(f"runtime: threads must be at least 1, got {threads}")
            torch.set_num_threads(threads)
        self.threads = threads
        self.device = self._device(device)

    def _device(self, device: str) -> torch.device:
        if device.lower() != "cpu":
            raise InputError(f"runtime {self.name}: runs on the cpu only, got device {device!r}")
        return torch.device("cpu")

    @property
    @abstractmethod
    def version(self) -> str:
        """Version of the library that executes, part of trial ids."""

    @property
    def options(self) -> dict[str, Any]:
        """Keyword arguments of `build_runtime` for an equal runtime in another process."""
        return {"threads": self.threads}

    def description(self) -> dict[str, Any]:
        """Return plain values that tell where results came from: CPU flags, threads, versions.

        Calibration in torch rounds by its version and threads, whatever executes afterwards.
        """
        return {
            "name": self.name,
            "version": self.version,
            **self.options,
            "torch": str(torch.__version__),
            "torch_threads": torch.get_num_threads(),
            "cpu_flags": cpu_flags(),
        }

    def compile(
        self, prepared: PreparedModel, parameters: QuantizationParameters | None
    ) -> Predictor:
        """Return a predictor of the quantized model, or of the float model without parameters.

        Raises:
            InputError: the parameters are of other layers or of a file that cannot run here, or the
                model cannot be converted.
        """
        if parameters is not None:
            if parameters.file is not None:
                return self.execute(parameters.file)
            _require_same_layers(prepared, parameters)
        return self._compiled(prepared, parameters)

    @abstractmethod
    def execute(self, file: ModelFile) -> Predictor:
        """Return a predictor of the file that another tool wrote.

        Raises:
            InputError: this runtime executes no such file.
        """

    def load(self, path: Path) -> Predictor:
        """Return a predictor of a saved model.

        Raises:
            InputError: a file is missing, is no such model, or is of another runtime.
        """
        raise InputError(f"runtime {self.name}: executes no files, got {path}")

    @abstractmethod
    def _compiled(
        self, prepared: PreparedModel, parameters: QuantizationParameters | None
    ) -> Predictor: ...


def _require_same_layers(prepared: PreparedModel, parameters: QuantizationParameters) -> None:
    wanted = {layer.name: layer.weight_shape for layer in prepared.layers}
    given = {name: layer.weight.codes.shape for name, layer in parameters.layers.items()}
    for name in sorted(wanted.keys() | given.keys()):
        if wanted.get(name) != given.get(name):
            raise InputError(
                f"quantization parameters do not fit the model: layer {name!r} has weight shape "
                f"{wanted.get(name)} in the model and {given.get(name)} in the parameters"
            )
    modules = dict(prepared.module.named_modules())
    for name in (*prepared.operands, *parameters.outputs):
        if name not in modules or name not in parameters.outputs:
            raise InputError(
                f"quantization parameters do not fit the model: the output of module {name!r} is "
                f"quantized in one of them only"
            )


def predict_top1(
    predictor: Predictor,
    images: np.ndarray,
    preprocessing: Callable[[np.ndarray], np.ndarray],
    batch_size: int = BATCH_SIZE,
    rows: np.ndarray | None = None,
) -> np.ndarray:
    """Return the class with the largest logit of each image, int32 ``(n,)``, the first on ties.

    Arguments and errors are those of `read_outputs`.
    """
    task = Classification()
    read = read_outputs(predictor, images, preprocessing, task.read, batch_size, rows=rows)
    return task.answers(read, None)


def read_outputs(
    predictor: Predictor,
    images: np.ndarray,
    preprocessing: Callable[[np.ndarray], np.ndarray],
    read: Callable[[np.ndarray, np.ndarray], Any],
    batch_size: int = BATCH_SIZE,
    *,
    rows: np.ndarray | None = None,
) -> list[Any]:
    """Run a model on images, converting to float one batch at a time, and read its outputs.

    Batches run side by side on the predictor's streams.

    Args:
        predictor: the model.
        images: uint8 ``(N, C, H, W)``, may be memory-mapped.
        preprocessing: from uint8 to float32 of the same shape.
        read: what is made of a batch's output and its images' rows, see `Task.read`.
        batch_size: images per call, at the most; fewer large ones, see `at_a_time`.
        rows: int ``(n,)`` rows of ``images`` to predict, in this order; all when left out.

    Returns:
        What ``read`` returned, in the order of the batches.

    Raises:
        InputError: an output says nothing; the message names the first image.
    """
    rows = np.arange(len(images)) if rows is None else np.asarray(rows)
    most_values = getattr(predictor, "most_values", MOST_VALUES)
    batch_size = at_a_time(images.shape[1:], batch_size, most_values)
    whole = len(rows) == len(images) and bool((rows == np.arange(len(images))).all())

    def answer(start: int) -> Any:
        chosen = rows[start : start + batch_size]
        batch = images[start : start + batch_size] if whole else images[chosen]
        return read(predictor(preprocessing(np.asarray(batch))), chosen)

    starts = range(0, len(rows), batch_size)
    # In order, so an error names the first image.
    return list(side_by_side(answer, starts, min(streams_of(predictor), len(starts))))


def measure_speed(predictor: Predictor, batch: np.ndarray) -> dict[str, float]:
    """Return how fast a model answers here and now: figures of this machine, never of an audit.

    ``latency_ms`` is the median of one image, ``images_per_second`` the best of some batches, one
    on each of the predictor's streams. ``batch`` holds as many preprocessed images ``(n, C, H, W)``
    as one inference takes.
    """
    one = batch[:1]
    predictor(one)
    predictor(batch)
    single = [_seconds(predictor, one) for _ in range(SINGLE_IMAGES)]
    streams = streams_of(predictor)
    with ThreadPoolExecutor(streams) as threads:

        def together(images: np.ndarray) -> None:
            list(threads.map(predictor, [images] * streams))

        together(batch)
        whole = [_seconds(together, batch) for _ in range(BATCHES)]
    found = {
        "latency_ms": 1e3 * float(np.median(single)),
        "images_per_second": streams * len(batch) / min(whole),
    }
    # Rounded to what they are worth.
    return {name: float(f"{value:.4g}") for name, value in found.items()}


def _seconds(run: Callable[[np.ndarray], object], images: np.ndarray) -> float:
    started = time.perf_counter()
    run(images)
    return time.perf_counter() - started
