"""What a network answers: to images, and to noise, which tells which network it is."""

import copy
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ptq_pipeline.core.blocks import at_a_time
from ptq_pipeline.core.errors import InputError, first_line
from ptq_pipeline.models import FloatModel, Preprocessing
from ptq_pipeline.models.binary import SingleLogit
from ptq_pipeline.ptq.hooks import replica, side_by_side, visit_input

# Sides of the images that a network is asked about; the first one that it takes is used.
SIDES = (32, 28, 64, 96, 128, 160, 192, 224, 240, 256, 299, 384)
# Digits below the largest output. What is left is far above the rounding of any machine.
DIGITS_IN_DOUBLE, DIGITS_IN_FLOAT = 6, 2
# Images of a batch that are also asked for alone.
ASKED_ALONE = 8
# Small images, torch is twice as fast in batches of so many as in large ones.
BATCH_SIZE = 32
# Share of the largest output: float rounding of other batch sizes moves it by less.
SAME = 1e-3


def probe(module: nn.Module, preprocessing: Preprocessing) -> dict[str, Any] | None:
    """Return the outputs of a network on two images of noise, rounded so that machines agree.

    Two networks of equal weights but other code give other outputs. A copy is run in double
    precision.

    Returns:
        ``side`` of the images, and ``outputs`` as integers; None when the network takes none of the
        sides that are tried.
    """
    for network, digits in (
        (copy.deepcopy(module).double(), DIGITS_IN_DOUBLE),
        # Some networks convert to float32 themselves.
        (copy.deepcopy(module), DIGITS_IN_FLOAT),
    ):
        kind = torch.float64 if digits == DIGITS_IN_DOUBLE else torch.float32
        for side, pixels in _noise(preprocessing.channels):
            try:
                with torch.inference_mode(), torch.random.fork_rng(devices=[]):
                    torch.manual_seed(0)
                    found = network(torch.from_numpy(preprocessing(pixels)).to(kind))
            except Exception:  # a network may refuse a size with anything
                continue
            if isinstance(found, torch.Tensor) and bool(torch.isfinite(found).all()):
                return {"side": side, "outputs": _rounded(found, digits)}
    return None


def _noise(channels: int) -> Iterator[tuple[int, np.ndarray]]:
    for side in SIDES:
        rng = np.random.default_rng(0)
        yield side, rng.integers(0, 256, (2, channels, side, side)).astype(np.uint8)


def _rounded(outputs: Tensor, digits: int) -> list[int]:
    values = outputs.double().flatten().numpy()
    largest = np.abs(values).max(initial=0.0)
    if largest == 0.0:
        return [0] * len(values)
    quantum = 10.0 ** (np.floor(np.log10(largest)) - digits)
    return [int(code) for code in np.rint(values / quantum)]


def _first_answer(model: FloatModel, inputs: Tensor) -> np.ndarray:
    try:
        found = model.module(inputs)
    except Exception as error:
        raise InputError(
            f"the float model cannot answer images of shape {tuple(inputs.shape[1:])} "
            f"({first_line(error)}); check 'shape' of the image source and the model's forward"
        ) from error
    if not isinstance(found, Tensor):
        raise InputError(
            f"the float model returns a {type(found).__name__} and no tensor of logits; give a "
            "factory whose network returns the logits alone"
        )
    return found.numpy()


def require_single_answers(model: FloatModel, images: np.ndarray) -> None:
    """Check that an image's answer does not depend on the images beside it.

    A few uint8 images ``(N, C, H, W)``, spread over all, are asked about together, in another
    order, and one by one.

    Raises:
        InputError: the answers differ.
    """
    rows = np.unique(np.linspace(0, len(images) - 1, ASKED_ALONE).astype(int))
    inputs = torch.from_numpy(model.preprocessing(np.stack([images[row] for row in rows])))
    order = np.random.default_rng(0).permutation(len(rows))
    with torch.inference_mode():
        together = _first_answer(model, inputs)
        if not np.allclose(together, model.module(inputs).numpy(), rtol=SAME, atol=SAME):
            raise InputError(
                "the float model answers otherwise when it is asked again, so something in it is "
                "random, such as dropout that is left on in evaluation; switch it off"
            )
        mixed = np.empty_like(together)
        mixed[order] = model.module(inputs[order]).numpy()
        try:
            alone = np.concatenate(
                [model.module(inputs[i : i + 1]).numpy() for i in range(len(rows))]
            )
        except (RuntimeError, ValueError) as error:
            raise InputError(
                f"the float model takes no single image ({first_line(error)}), so its answers "
                "depend on the batch; give its batch norms running statistics"
            ) from None
    largest = float(np.abs(together).max(initial=0.0))
    for other, how in ((alone, "alone"), (mixed, "in another order")):
        difference = np.abs(other - together).reshape(len(rows), -1).max(1, initial=0.0)
        worst = int(difference.argmax())
        if difference[worst] > SAME * largest:
            raise InputError(
                f"the float model's answer to an image depends on the images beside it: asked "
                f"{how}, an output of image {rows[worst]} differs by {difference[worst]:.3g} "
                f"(largest output {largest:.3g}), so accuracy would depend on the order of the "
                "images; give its batch norms running statistics (track_running_stats=True) and "
                "take out what looks at the whole batch"
            )


def require_logit(model: FloatModel, predicted: np.ndarray, confidence: np.ndarray) -> None:
    """Check that a network with one output returns a logit, not a probability.

    Args:
        model: the float model.
        predicted: ``(N,)`` its answers to the images of an audit.
        confidence: ``(N,)`` its softmax probabilities of them.

    Raises:
        InputError: every output lies between 0 and 1.
    """
    if not isinstance(model.module, SingleLogit):
        return
    # The softmax of 0 and 1.
    largest = 1.0 / (1.0 + np.exp(-1.0)) + 1e-6
    if (predicted == 1).all() and (confidence <= largest).all():
        raise InputError(
            "the float model returns one number between 0 and 1 for every image, which is a "
            "probability; let it return the logit (take its last sigmoid away), whose sign is the "
            "answer"
        )


def run_in_batches(
    model: FloatModel, images: np.ndarray, batch_size: int = BATCH_SIZE
) -> tuple[np.ndarray, np.ndarray]:
    """Return logits ``(N, classes)`` and features ``(N, F)`` as `batches` gives them."""
    found = list(batches(model, images, batch_size))
    if not found:
        empty = np.zeros((0, len(model.classes)), np.float32)
        return empty, empty
    logits, features = zip(*found, strict=True)
    return np.concatenate(logits), np.concatenate(features)


def in_torch(model: FloatModel) -> Callable[[np.ndarray], np.ndarray]:
    """Return a predictor of the float model as torch runs it."""

    def predict(batch: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            found: np.ndarray = model.module(torch.from_numpy(batch)).numpy()
        return found

    return predict


def batches(
    model: FloatModel, images: np.ndarray, batch_size: int = BATCH_SIZE
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Run the float model batch by batch and keep what its last layer saw.

    A batch has ``batch_size`` images at the most, see `at_a_time`; some are worked on at a time,
    see `side_by_side`.

    Yields:
        Per batch of uint8 images the logits ``(B, classes)``, or what a detector returns, and the
        features ``(B, F)``, both float32: the input of the linear layer that runs last, its mean
        over what lies between the first and the last axis; or the output, without such a layer or
        where its rows are no images.

    Raises:
        InputError: if the output is not finite or not of the shape that the model's task reads.
    """
    batch_size = at_a_time(images.shape[1:], batch_size)
    own = threading.local()

    def keep(_: str, values: Tensor) -> None:
        own.last = values

    def answer(start: int) -> tuple[np.ndarray, np.ndarray]:
        if not hasattr(own, "module"):
            own.module = replica(model.module)
            for layer in own.module.modules():
                if isinstance(layer, nn.Linear):
                    visit_input(layer, "", keep)
        own.last = None
        batch = model.preprocessing(np.asarray(images[start : start + batch_size]))
        with torch.inference_mode():
            output = own.module(torch.from_numpy(batch))
            logits = output.numpy()
            model.task.check(logits, len(model.classes))
            last = output if own.last is None or len(own.last) != len(output) else own.last
            return logits, (last if last.ndim == 2 else last.flatten(1, -2).mean(1)).numpy()

    yield from side_by_side(answer, range(0, len(images), batch_size))
