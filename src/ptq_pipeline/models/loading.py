"""Float models from a factory and a file of weights, and ready for quantization."""

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.inputs import read_regular
from ptq_pipeline.models import FloatModel, Preprocessing
from ptq_pipeline.models.binary import SingleLogit
from ptq_pipeline.models.factories import build_network
from ptq_pipeline.models.inference import probe
from ptq_pipeline.models.onnx_file import ONNX_FILE, SUFFIX, network_of_onnx
from ptq_pipeline.models.weights import check_finite, fit_state, read_weights
from ptq_pipeline.ptq import PreparedModel, prepare
from ptq_pipeline.ptq.freezing import freeze_weights
from ptq_pipeline.tasks.detector import Detection
from ptq_pipeline.tasks.task import Classification, Task


def _read_onnx(path: Path, factory: str, sha256: str | None) -> tuple[nn.Module, str]:
    """The network of an ONNX file, and the hash of its content."""
    if factory != ONNX_FILE:
        raise InputError(
            f"float model '{path}' is an ONNX file, which holds its network: leave 'factory' out"
        )
    try:
        content = read_regular(path, sha256)
    except FileNotFoundError:
        raise InputError(
            f"weights file '{path}' does not exist; check 'weights' of the model entry"
        ) from None
    module = network_of_onnx(content, path)
    check_finite(module.state_dict(), path)
    return module, hashlib.sha256(content).hexdigest()


def _require_raw_output(task: Task, path: Path) -> None:
    """Refuse lists of boxes: tracing such a converted network ends the process, with no error."""
    if task.finds_objects and task.facts["decoder"]["kind"] == "end_to_end":
        raise InputError(
            f"float model '{path}' is an ONNX detector that picks its boxes itself (decoder "
            "end_to_end), which cannot be quantized yet; export it without top-k and suppression "
            "and use decoder yolo, or give a factory and its weights"
        )


def _check_float32(module: nn.Module, factory: str) -> None:
    for name, parameter in module.named_parameters():
        if parameter.is_floating_point() and parameter.dtype != torch.float32:
            raise InputError(
                f"factory '{factory}' returns a network whose '{name}' is {parameter.dtype}; only "
                "float32 networks can be audited: convert it with .float() (weights files may "
                "hold float16)"
            )


def load_float_model(
    factory: str,
    weights: Path,
    preprocessing: Preprocessing,
    classes: Sequence[str],
    arguments: Mapping[str, Any] | None = None,
    allowed_factories: Sequence[str] | None = None,
    training_hashes: Path | None = None,
    sha256: Mapping[str, str] | None = None,
    weights_key: str | None = None,
    detector: Mapping[str, Any] | None = None,
) -> FloatModel:
    """Build the network and load its weights.

    Args:
        factory: dotted path of a callable that returns the network; ``onnx`` for an ONNX file.
        weights: ``.safetensors`` or ``weights_only`` torch file with a state dict, see
            `read_weights`, or ``.onnx``.
        preprocessing: mean and std per channel.
        classes: class names in the order of the logits.
        arguments: keyword arguments of the factory.
        allowed_factories: what ``factory`` may be, see `import_factory`; None allows all.
        training_hashes: ``.npy`` of the training images' content keys.
        sha256: hashes that the files of ``weights`` and ``training_hashes`` must have.
        weights_key: which state dict of the file is meant, where it holds several.
        detector: of a network that finds objects, what makes boxes of its output and when one is
            right, see `Detection.of`.

    Raises:
        InputError: if the factory, the weights or the classes do not fit each other.
    """
    declared = sha256 or {}
    facts = _facts(factory, arguments or {}, preprocessing, classes)
    task = Classification() if detector is None else Detection.of(classes, detector)
    if detector is not None:
        facts["detector"] = dict(task.facts)
    known = dict(facts)
    if weights.suffix.lower() == SUFFIX:
        _require_raw_output(task, weights)
        module, known["content"] = _read_onnx(weights, factory, declared.get("weights"))
        state = module.state_dict()
    else:
        state = read_weights(weights, declared.get("weights"), weights_key)
        module = _built(factory, facts["arguments"], allowed_factories, state, weights)
    module, known["probe"] = _probed(module, preprocessing, factory, len(classes))
    return FloatModel(
        module,
        preprocessing,
        tuple(classes),
        _fingerprint(json.dumps(known, sort_keys=True), state),
        _read_keys(training_hashes, declared.get("training_hashes")),
        {
            **facts,
            **{"weights": str(weights), "weights_key": weights_key},
            "allowed_factories": allowed_factories,
        },
        task,
    )


def _facts(
    factory: str, arguments: Mapping[str, Any], preprocessing: Preprocessing, classes: Sequence[str]
) -> dict[str, Any]:
    """What is part of a model beside its weights; equal weights in other code are another one."""
    return {
        "factory": factory,
        "arguments": dict(arguments),
        "mean": list(preprocessing.mean),
        "std": list(preprocessing.std),
        "classes": list(classes),
    }


def _built(
    factory: str,
    arguments: Mapping[str, Any],
    allowed: Sequence[str] | None,
    state: dict[str, Tensor],
    weights: Path,
) -> nn.Module:
    """The network of a factory with its weights; what computes some of them is folded into them."""
    with torch.random.fork_rng(devices=[]):
        module = build_network(factory, arguments, allowed)
    fit_state(module, state, f"weights file '{weights}' does not fit factory '{factory}'")
    freeze_weights(module)
    return module


def _probed(
    module: nn.Module, preprocessing: Preprocessing, factory: str, classes: int
) -> tuple[nn.Module, dict[str, Any] | None]:
    """The network ready for inference, with two logits of two classes, and what it answers."""
    _check_float32(module, factory)
    module.eval().requires_grad_(False)
    found = probe(module, preprocessing)
    # Of two images of noise.
    if classes == 2 and found is not None and len(found["outputs"]) == 2:
        module = SingleLogit(module)
    return module, found


def prepared_model(model: FloatModel, image_shape: tuple[int, ...]) -> PreparedModel:
    """Return the float model as the engine quantizes it for images ``(C, H, W)``."""
    example = torch.from_numpy(model.example_input(image_shape))
    return prepare(model.module, example, output_dimensions=model.task.output_dimensions)


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


def _fingerprint(description: str, state: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(description.encode())
    for name in sorted(state):
        value = state[name].detach().cpu().contiguous()
        digest.update(f"{name}:{value.dtype}:{tuple(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
