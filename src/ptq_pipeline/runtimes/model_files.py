"""Model files that somebody else made, run by their own runtimes: ONNX, TFLite and OpenVINO.

Layout, size and type of the input are read from the file, and so are the scales of a quantized
input. What a file cannot say is how pixels were prepared in training.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ptq_pipeline.core.errors import InputError, first_line
from ptq_pipeline.core.inputs import read_regular
from ptq_pipeline.ptq.export import require_one_file
from ptq_pipeline.runtimes.onnxruntime import import_onnxruntime
from ptq_pipeline.runtimes.openvino_graph import openvino

CHANNELS = (1, 3)
BATCH = 64
# What float32 leaves of a whole number.
_ROUNDING = 1e-3
# Runs one batch in the layout and type of the file.
Run = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class ModelInput:
    """What a model's file says of its input.

    Attributes:
        shape: ``(C, H, W)``; 0 where the file leaves a side open.
        channels_last: Whether the file has channels last.
        dtype: Of the input's values.
        batch: Images at a time; None for any number.
        quantization: Scale and zero point of an input of integers; None for others.
    """

    shape: tuple[int, int, int]
    channels_last: bool
    dtype: np.dtype[Any]
    batch: int | None
    quantization: tuple[float, int] | None = None

    def arranged(self, images: np.ndarray) -> np.ndarray:
        """Give float32 ``(n, C, H, W)`` images as the model takes them.

        Raises:
            InputError: It takes integers without a scale, and the images are no whole numbers.
        """
        if self.channels_last:
            images = images.transpose(0, 2, 3, 1)
        if self.dtype.kind in "iu":
            scale, zero = self.quantization or (1.0, 0)
            limits, codes = np.iinfo(self.dtype), np.rint(images / scale) + zero
            images, given = np.clip(codes, limits.min, limits.max), images
            if self.quantization is None and (np.abs(images - given) > _ROUNDING).any():
                raise InputError(
                    f"its input is {self.dtype} without a scale, so it takes pixels as they are, "
                    f"and these go from {given.min():.3g} to {given.max():.3g}: leave them at 0 to "
                    "255, without mean and std"
                )
        return np.ascontiguousarray(images.astype(self.dtype))


@dataclass(frozen=True)
class FileModel:
    """A model file, ready to run.

    Attributes:
        path: The file.
        sha256: Of its content.
        runtime: Name and version of what runs it.
    """

    path: Path
    sha256: str
    runtime: str
    input: ModelInput
    run: Run

    def answers(self, images: np.ndarray, classes: int) -> np.ndarray:
        """Top-1 class, int64 ``(n,)``, of prepared float32 ``(n, C, H, W)`` images.

        Raises:
            InputError: The images are none that it takes, or the output is not one row of scores
                for every image, one score for each class.
        """
        step = self.input.batch or BATCH
        found = []
        for start in range(0, len(images), step):
            try:
                batch = self.input.arranged(images[start : start + step])
            except InputError as error:
                raise InputError(f"'{self.path}': {error}") from None
            missing = step - len(batch) if self.input.batch else 0
            if missing:
                batch = np.concatenate([batch, np.repeat(batch[-1:], missing, axis=0)])
            scores = self._scores(batch)
            if scores.shape[1] != classes:
                raise InputError(
                    f"'{self.path}' tells {scores.shape[1]:,} classes apart, and the images have "
                    f"{classes:,}; give the names of all outputs in order (--classes)"
                )
            if not np.isfinite(scores.astype(np.float64)).all():
                raise InputError(f"'{self.path}' gives NaN or infinite class scores")
            found.append(scores[: len(batch) - missing].argmax(axis=1))
        return np.concatenate(found)

    def _scores(self, batch: np.ndarray) -> np.ndarray:
        """What the model gives for images in its own layout, ``(n, outputs)``."""
        try:
            scores = np.asarray(self.run(batch))
        except Exception as error:  # runtimes raise what they like
            raise InputError(
                f"'{self.path}' cannot be run on images of shape {batch.shape[1:]}: "
                f"{first_line(error)}"
            ) from None
        # What a pooling leaves behind the classes are sides of one value.
        rows = scores.shape[:1]
        plain = tuple(side for side in scores.shape[1:] if side != 1)
        if rows != (len(batch),) or len(plain) != 1:
            raise InputError(
                f"'{self.path}' gives an output of shape {scores.shape} for {len(batch)} "
                "images; a classifier gives one row of class scores for each"
            )
        return scores.reshape(len(batch), plain[0])


def open_model(path: Path) -> FileModel:
    """Open a model file by its suffix: ``.onnx``, ``.tflite`` or ``.xml`` (OpenVINO).

    Raises:
        InputError: The file is missing, no such model, no classifier of images, or its runtime is
            not installed.
    """
    openers = {".onnx": _onnx, ".tflite": _tflite, ".xml": _openvino}
    if path.suffix.lower() not in openers:
        raise InputError(f"'{path}' is no model file; give one of {', '.join(sorted(openers))}")
    try:
        content = read_regular(path)
    except FileNotFoundError:
        raise InputError(f"'{path}' does not exist; check the path") from None
    digest = hashlib.sha256(content)
    runtime, described, run = openers[path.suffix.lower()](path, content, digest)
    return FileModel(path, digest.hexdigest(), runtime, described, run)


def _only(path: Path, inputs: int, outputs: int) -> None:
    if (inputs, outputs) != (1, 1):
        raise InputError(
            f"'{path}' has {inputs} inputs and {outputs} outputs; a classifier of images has one "
            "of each"
        )


def _shape(path: Path, sides: list[int]) -> tuple[tuple[int, int, int], bool, int | None]:
    """Shape, whether channels are last, and batch of four sides; 0 where one is open."""
    if len(sides) != 4:
        raise InputError(f"'{path}' has an input of {len(sides)} dimensions; images have four")
    batch, first, middle, last = sides
    channels_last = last in CHANNELS and first not in CHANNELS
    if not channels_last and first not in CHANNELS:
        raise InputError(
            f"'{path}' has an input of shape {sides}, of which neither the second nor the last "
            "side is 1 or 3 channels; give a model of grey or colour images"
        )
    shape = (last, first, middle) if channels_last else (first, middle, last)
    return shape, channels_last, batch or None


def _onnx(path: Path, content: bytes, digest: Any) -> tuple[str, ModelInput, Run]:
    onnxruntime = import_onnxruntime()
    try:
        require_one_file(content)
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    except InputError as error:
        raise InputError(f"'{path}': {error}") from None
    except Exception as error:
        raise InputError(f"'{path}' cannot be run by ONNX Runtime: {first_line(error)}") from None
    _only(path, len(session.get_inputs()), len(session.get_outputs()))
    given = session.get_inputs()[0]
    sides = [side if isinstance(side, int) else 0 for side in given.shape]
    shape, channels_last, batch = _shape(path, sides)
    kinds = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}
    if given.type not in kinds:
        raise InputError(f"'{path}' takes {given.type}; images are given as float or uint8")
    described = ModelInput(shape, channels_last, np.dtype(kinds[given.type]), batch)
    name = given.name
    return (
        f"onnxruntime {onnxruntime.__version__}",
        described,
        lambda images: session.run(None, {name: images})[0],
    )


def _tflite(path: Path, content: bytes, digest: Any) -> tuple[str, ModelInput, Run]:
    try:
        import ai_edge_litert
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        raise InputError(
            f"'{path}': package 'ai-edge-litert' is not installed; pip install "
            "'ptq-pipeline[tflite]'"
        ) from None
    try:
        interpreter = Interpreter(model_content=content, num_threads=1)
        interpreter.allocate_tensors()
    except Exception as error:
        raise InputError(f"'{path}' cannot be run by LiteRT: {first_line(error)}") from None
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    _only(path, len(inputs), len(outputs))
    given, place = inputs[0], outputs[0]["index"]
    shape, channels_last, batch = _shape(path, [int(side) for side in given["shape"]])
    dtype, (scale, zero) = np.dtype(given["dtype"]), given["quantization"]
    quantization = (float(scale), int(zero)) if dtype.kind in "iu" and scale else None
    described = ModelInput(shape, channels_last, dtype, batch, quantization)

    def run(images: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(given["index"], images)
        interpreter.invoke()
        return interpreter.get_tensor(place)

    return f"ai-edge-litert {getattr(ai_edge_litert, '__version__', '')}".strip(), described, run


def _openvino(path: Path, content: bytes, digest: Any) -> tuple[str, ModelInput, Run]:
    weights = path.with_suffix(".bin")
    try:
        digest.update(read_regular(weights))
    except FileNotFoundError:
        raise InputError(f"'{path}' has its weights in '{weights}', which does not exist") from None
    try:
        model = openvino.Core().read_model(path)
        # bf16 hints change answers where the processor has them.
        compiled = openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    except Exception as error:
        raise InputError(f"'{path}' cannot be run by OpenVINO: {first_line(error)}") from None
    _only(path, len(model.inputs), len(model.outputs))
    given = model.inputs[0]
    sides = [side.get_length() if side.is_static else 0 for side in given.get_partial_shape()]
    shape, channels_last, batch = _shape(path, sides)
    described = ModelInput(shape, channels_last, np.dtype(given.element_type.to_dtype()), batch)
    return (
        f"openvino {openvino.__version__.partition('-')[0]}",
        described,
        lambda images: compiled(images)[0],
    )
