"""Whether a float model can go the whole way, asked before long work: seconds instead of hours."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import numpy as np

from ptq_pipeline.artifact import ONNX
from ptq_pipeline.artifact.writing import artifact_files
from ptq_pipeline.core.canonical import canonical_hash
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.files import write_file
from ptq_pipeline.models import FloatModel
from ptq_pipeline.trials.recipe import Recipe
from ptq_pipeline.trials.trial import TrialStore
from ptq_pipeline.trials.workload import Workload

# Images that a model is quantized and asked with.
LOOKED_AT = 8
# Share of the largest logit by which a runtime may differ from torch in float.
FLOAT_DIFFERENCE = 0.01


def require_servable(
    model: FloatModel, images: np.ndarray, recipe: Recipe, store: TrialStore | None = None
) -> None:
    """Prepare, convert, quantize with eight images, export, and execute every file once.

    A learning method is represented by rounding to the nearest with its bits. What was found to
    work is remembered beside the trials.

    Args:
        model: the float model.
        images: uint8 ``(N, C, H, W)`` of the audit, of which the first ones are used.
        recipe: method and serving runtime.
        store: where to remember it; None asks every time.

    Raises:
        InputError: Some step does not work; what, and what to do.
    """
    from ptq_pipeline.ptq import ENGINE_VERSION, MethodSpec

    with _torch_threads():
        runtime = recipe.runtime.build()
        workload = Workload(model, runtime, images.shape[1:])
        method, own = recipe.method, recipe.method.reducible or recipe.file_format is not None
        if not own:
            method = MethodSpec(
                weight_bits=method.weight_bits, activation_bits=method.activation_bits
            )
        facts = [model.fingerprint, images.shape[1:], method.to_json(), runtime.description()]
        known = canonical_hash([*facts, ENGINE_VERSION])[:16]
        done = None if store is None else store.root / "servable" / known
        if done is not None and done.exists():
            return
        chosen = np.asarray(images[:LOOKED_AT])
        inputs = model.preprocessing(chosen)
        require_float_answers(workload, inputs, recipe.runtime.name)
        parameters = workload.quantize(method, chosen, seed=0)
        answers = runtime.compile(workload.prepared, parameters)(inputs)
        _require_answers(workload, answers, recipe.runtime.name)
        _require_files(workload, parameters, inputs, getattr(runtime, "opset", None))
    if done is not None:
        write_file(done, b"")


def _require_answers(workload: Workload, answers: np.ndarray, name: str) -> None:
    """Check outputs ``(n, ...)`` of a quantized model, or classes ``(n,)`` of a device."""
    if not np.isfinite(answers).all():
        raise InputError(
            f"the quantized model returns NaN or infinite logits in runtime {name!r}; look for "
            "weights or activations of extreme size"
        )
    if answers.ndim == 1:
        workload.require_classes(answers)
    else:
        workload.model.task.check(answers, len(workload.model.classes))


def require_float_answers(workload: Workload, inputs: np.ndarray, name: str) -> None:
    """Check that a runtime gives the float model's answers to a few inputs ``(n, C, H, W)``.

    Raises:
        InputError: An output differs by more than `FLOAT_DIFFERENCE` of the largest.
    """
    import torch

    with torch.inference_mode():
        expected = workload.model.module(torch.from_numpy(inputs)).numpy()
    found = workload.runtime.compile(workload.prepared, None)(inputs)
    largest = float(np.abs(expected).max(initial=0.0))
    worst = float(np.abs(found - expected).max(initial=0.0))
    if not worst <= FLOAT_DIFFERENCE * largest:
        raise InputError(
            f"the float model answers in runtime {name!r} not as in torch: an output differs by "
            f"{worst:.3g} (largest output {largest:.3g}); look for what a conversion fixes or "
            "computes in another way (a branch on values, pooling with ceil_mode), or set "
            "quantization.runtime.name to another runtime"
        )


def _require_files(
    workload: Workload, parameters: object, inputs: np.ndarray, opset: int | None
) -> None:
    from ptq_pipeline.runtimes import OnnxruntimeRuntime

    files = artifact_files(workload.prepared, parameters, inputs, {}, opset)  # type: ignore[arg-type]
    # It is an optional package; promotion says what could not be executed.
    if ONNX in files and find_spec("onnxruntime") is not None:
        OnnxruntimeRuntime().session(files[ONNX])(inputs)


@contextmanager
def _torch_threads() -> Iterator[None]:
    """Leave torch's threads as they are, whatever a runtime sets."""
    import torch

    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
