"""A float model as the audit sees it: network, preprocessing, classes and identity."""

import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.inputs import read_regular
from ptq_pipeline.models.factories import build_network
from ptq_pipeline.models.preprocessing import Preprocessing
from ptq_pipeline.models.probing import probe

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class FloatModel:
    """A trained classifier in evaluation mode.

    Attributes:
        module: takes ``(N, C, H, W)`` float32, returns logits ``(N, len(classes))``.
        preprocessing: turns stored uint8 pixels into what ``module`` takes.
        classes: class names in the order of the logits.
        fingerprint: SHA-256 over factory, its arguments, weights, preprocessing, classes and what
            the network answers to two images of noise.
        training_keys: sorted uint64 array, the first 8 bytes of the SHA-256 of every training
            image, or None when that is not recorded.
        source: arguments with which `load_float_model` builds the same model in another process,
            as JSON types with ``weights`` a path; None for a model that was put together by hand.
    """

    module: "nn.Module"
    preprocessing: Preprocessing
    classes: tuple[str, ...]
    fingerprint: str
    training_keys: np.ndarray | None = None
    source: Mapping[str, Any] | None = None

    def example_input(self, image_shape: tuple[int, int, int]) -> np.ndarray:
        """Return two preprocessed images of noise, ``(2, C, H, W)`` float32, always the same."""
        pixels = np.random.default_rng(0).integers(0, 256, (2, *image_shape), np.uint8)
        return self.preprocessing(pixels)


def read_weights(path: Path, sha256: str | None = None) -> "dict[str, Tensor]":
    """Read a state dict from ``.safetensors``, or from a torch file without unpickling objects.

    Args:
        path: the file.
        sha256: hash that it must have.

    Raises:
        InputError: if the file is missing, damaged, another one, or holds NaN or infinite values.
    """
    import torch

    if not path.exists():
        raise InputError(
            f"weights file '{path}' does not exist; check 'weights' of the model entry"
        )
    try:
        # What is hashed is what is loaded, whatever happens to the file meanwhile.
        content = read_regular(path, sha256)
        if path.suffix == ".safetensors":
            from safetensors.torch import load

            state = load(content)
        else:
            state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"weights file '{path}' cannot be read: {error}") from error
    for name, value in state.items():
        if value.dtype.is_floating_point and not torch.isfinite(value).all():
            raise InputError(
                f"weights file '{path}': tensor '{name}' holds NaN or infinite values; "
                "export the weights of a healthy checkpoint"
            )
    return state


def load_float_model(
    factory: str,
    weights: Path,
    preprocessing: Preprocessing,
    classes: Sequence[str],
    arguments: Mapping[str, Any] | None = None,
    allowed_factories: Sequence[str] | None = None,
    training_hashes: Path | None = None,
    sha256: Mapping[str, str] | None = None,
) -> FloatModel:
    """Build the network and load its weights.

    Args:
        factory: dotted path of a callable that returns the network.
        weights: ``.safetensors`` or ``weights_only`` torch file with a state dict.
        preprocessing: mean and std per channel.
        classes: class names in the order of the logits.
        arguments: keyword arguments of the factory.
        allowed_factories: what ``factory`` may be, see `import_factory`; None allows all.
        training_hashes: ``.npy`` of the training images' content keys.
        sha256: hashes that the files of ``weights`` and ``training_hashes`` must have.

    Raises:
        InputError: if the factory, the weights or the classes do not fit each other.
    """
    import torch

    arguments = dict(arguments or {})
    declared = sha256 or {}
    state = read_weights(weights, declared.get("weights"))
    with torch.random.fork_rng(devices=[]):
        module = build_network(factory, arguments, allowed_factories)
    missing, unexpected = _load_state(module, state, factory, weights)
    if missing or unexpected:
        raise InputError(
            f"weights file '{weights}' does not fit factory '{factory}': "
            f"missing {missing[:3]} ({len(missing)}), unexpected {unexpected[:3]} "
            f"({len(unexpected)}); check factory, its arguments and the file"
        )
    for name, parameter in module.named_parameters():
        if parameter.is_floating_point() and parameter.dtype != torch.float32:
            raise InputError(
                f"factory '{factory}' returns a network whose '{name}' is {parameter.dtype}; only "
                "float32 networks can be audited: convert it with .float() (weights files may "
                "hold float16)"
            )
    module.eval().requires_grad_(False)
    description = json.dumps(
        {
            "factory": factory,
            "arguments": arguments,
            "mean": preprocessing.mean,
            "std": preprocessing.std,
            "classes": list(classes),
            # Equal weights in other code are another model.
            "probe": probe(module, preprocessing),
        },
        sort_keys=True,
    )
    keys = _read_keys(training_hashes, declared.get("training_hashes"))
    source = {
        **{"factory": factory, "weights": str(weights), "arguments": arguments},
        **{"mean": list(preprocessing.mean), "std": list(preprocessing.std)},
        **{"classes": list(classes), "allowed_factories": allowed_factories},
    }
    fingerprint = _fingerprint(description, state)
    return FloatModel(module, preprocessing, tuple(classes), fingerprint, keys, source)


def _read_keys(path: Path | None, sha256: str | None) -> np.ndarray | None:
    if path is None:
        return None
    try:
        return np.load(io.BytesIO(read_regular(path, sha256)), allow_pickle=False)
    except InputError:
        raise
    except (OSError, ValueError, EOFError) as error:
        raise InputError(
            f"training hashes '{path}' cannot be read ({error}); restore the file, or leave "
            "'training_hashes' out of the model's catalog entry"
        ) from error


def _load_state(
    module: "nn.Module", state: "Mapping[str, Tensor]", factory: str, weights: Path
) -> tuple[list[str], list[str]]:
    try:
        result = module.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise InputError(
            f"weights file '{weights}' does not fit factory '{factory}': "
            f"{' '.join(str(error).split())}"
        ) from error
    # The counter of batch norm plays no part in evaluation and is often left out.
    missing = [key for key in result.missing_keys if not key.endswith("num_batches_tracked")]
    return missing, list(result.unexpected_keys)


def _fingerprint(description: str, state: "Mapping[str, Tensor]") -> str:
    import torch

    digest = hashlib.sha256(description.encode())
    for name in sorted(state):
        value = state[name].detach().cpu().contiguous()
        digest.update(f"{name}:{value.dtype}:{tuple(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def run_in_batches(
    model: FloatModel, images: np.ndarray, batch_size: int = 32
) -> tuple[np.ndarray, np.ndarray]:
    """Run the float model and keep what its last layer saw.

    Returns:
        Logits ``(N, classes)`` and penultimate features ``(N, F)`` of all images, as
        :func:`batches` gives them.
    """
    found = list(batches(model, images, batch_size))
    if not found:
        empty = np.zeros((0, len(model.classes)), np.float32)
        return empty, empty
    logits, features = zip(*found, strict=True)
    return np.concatenate(logits), np.concatenate(features)


def batches(
    model: FloatModel, images: np.ndarray, batch_size: int = 32
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Run the float model batch by batch and keep what its last layer saw.

    Args:
        model: the model.
        images: ``(N, C, H, W)`` uint8, may be memory-mapped.
        batch_size: images per forward pass; small batches stay in the processor's cache.

    Yields:
        Per batch of ``B`` images the logits ``(B, classes)`` and the penultimate features
        ``(B, F)``, both float32. The features are the input of the linear layer that runs last;
        for a network without one, the logits.

    Raises:
        InputError: if the logits are not finite or their number is not the number of classes.
    """
    import torch
    from torch import nn

    seen: list[Tensor] = []
    linear = [layer for layer in model.module.modules() if isinstance(layer, nn.Linear)]
    hooks = [
        layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        for layer in linear
    ]
    try:
        with torch.inference_mode():
            for start in range(0, len(images), batch_size):
                seen.clear()
                batch = model.preprocessing(np.asarray(images[start : start + batch_size]))
                output = model.module(torch.from_numpy(batch))
                if output.ndim != 2 or output.shape[1] != len(model.classes):
                    raise InputError(
                        f"the model returns an output of shape {tuple(output.shape)} but "
                        f"{len(model.classes)} classes are declared; both must agree"
                    )
                logits = output.numpy()
                if not np.isfinite(logits).all():
                    raise InputError(
                        "the float model returns NaN or infinite logits; check weights and "
                        "preprocessing"
                    )
                last = seen[-1] if seen else output
                yield logits, last.flatten(1).numpy()
    finally:
        for hook in hooks:
            hook.remove()
