"""Clip rate: drift that only a quantized model has.

The ranges of a served model are frozen. An activation beyond them is cut to the nearest end,
however far out it lies, so brighter images may cost a quantized model much and the float model
nothing.
"""

from collections import defaultdict
from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ptq_pipeline.models import Preprocessing
from ptq_pipeline.ptq import ActivationParameters, PreparedModel, QuantizationParameters

CLIP_PREFIX = "clip:"
CLIP_MEAN = "clip_rate"


def clip_rates(
    prepared: PreparedModel,
    parameters: QuantizationParameters,
    images: np.ndarray,
    preprocessing: Preprocessing,
    batch_size: int = 250,
) -> pd.DataFrame:
    """Return per image and quantized place the share of activations outside the stored range.

    A value counts when its code, before it is cut, is none of the quantizer's.

    Args:
        prepared: the float model that was quantized.
        parameters: the served artifact's integers and scales.
        images: uint8 ``(N, C, H, W)``.
        preprocessing: what the model takes.
        batch_size: images at a time.

    Returns:
        One row per image: ``clip:<place>`` for each quantizer of an activation, and ``clip_rate``,
        their mean.
    """
    places = {
        name: layer.activation for name, layer in parameters.layers.items() if layer.activation
    }
    outside: defaultdict[str, list[Tensor]] = defaultdict(list)
    handles = []
    for name, activation in (*places.items(), *parameters.outputs.items()):
        module = prepared.module.get_submodule(name)
        count = _counter(outside[name], activation)
        if name in places:
            handles.append(module.register_forward_pre_hook(lambda m, args, c=count: c(args[0])))
        else:
            handles.append(module.register_forward_hook(lambda m, args, out, c=count: c(out)))
    rows: defaultdict[str, list[np.ndarray]] = defaultdict(list)
    try:
        with torch.inference_mode():
            for start in range(0, len(images), batch_size):
                batch = preprocessing(np.asarray(images[start : start + batch_size]))
                prepared.module(torch.from_numpy(batch).to(prepared.device))
                for name, calls in outside.items():
                    rows[f"{CLIP_PREFIX}{name}"].append(torch.stack(calls).mean(0).cpu().numpy())
                    calls.clear()
    finally:
        for handle in handles:
            handle.remove()
    table = pd.DataFrame({name: np.concatenate(parts) for name, parts in rows.items()})
    return table.astype(float).assign(**{CLIP_MEAN: table.mean(axis=1).astype(float)})


def _counter(calls: list[Tensor], activation: ActivationParameters) -> Callable[..., None]:
    scheme = activation.scheme

    def count(values: Tensor) -> None:
        codes = torch.round(values / activation.scale) + activation.zero_point
        beyond = (codes < scheme.qmin) | (codes > scheme.qmax)
        calls.append(beyond.flatten(1).double().mean(1))

    return count
