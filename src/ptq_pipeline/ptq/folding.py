"""Batch norm folding: ``y = gamma (W x + b - mean) / sqrt(var + eps) + beta`` as one layer.

With ``g = gamma / sqrt(var + eps)`` per output channel: ``W' = g W``, ``b' = g (b - mean) + beta``
(Jacob et al., CVPR 2018, section 3.2). Computed in float64, stored as float32.
"""

from __future__ import annotations

from collections import Counter

import torch
from torch import Tensor, nn

from ptq_pipeline.ptq.modules import replace_module
from ptq_pipeline.ptq.tracing import BATCH_NORM_TYPES, Trace


def foldable_pairs(module: nn.Module, trace: Trace) -> dict[str, str]:
    """Return which batch norm can be folded into which layer.

    A pair qualifies when the batch norm takes the very tensor that the layer returned, unchanged in
    between, nothing else takes it, both run once, and the batch norm has running statistics.

    Returns:
        Batch norm name to layer name.
    """
    layer_runs = Counter(call.name for call in trace.layers)
    norm_runs = Counter(call.name for call in trace.batch_norms)
    made_by = {id(call.output): call for call in trace.layers}
    pairs = {}
    for call in trace.batch_norms:
        source = made_by.get(id(call.input))
        if source is None or source.output_version != call.input_version:
            continue
        batch_norm = module.get_submodule(call.name)
        layer = module.get_submodule(source.name)
        plain = _rest(batch_norm) is not None
        channels_agree = not isinstance(layer, nn.Linear) or source.output.ndim == 2
        alone = trace.consumers[id(call.input)] == 1 and call.input is not trace.output
        once = layer_runs[source.name] == 1 and norm_runs[call.name] == 1
        if plain and channels_agree and alone and once and batch_norm.running_mean is not None:
            pairs[call.name] = source.name
    return pairs


@torch.no_grad()
def fold(module: nn.Module, pairs: dict[str, str]) -> None:
    """Fold each batch norm into its layer and leave an identity in its place.

    Args:
        module: model to change; parameters of folded layers are new tensors, so a parameter that
            is shared with another layer keeps its value there.
        pairs: batch norm name to layer name, from `foldable_pairs`.
    """
    for norm_name, layer_name in pairs.items():
        layer, norm = module.get_submodule(layer_name), module.get_submodule(norm_name)
        weight, bias = folded(layer, norm)
        layer.weight = nn.Parameter(weight, requires_grad=False)
        layer.bias = nn.Parameter(bias, requires_grad=False)
        replace_module(module, norm, _rest(norm) or nn.Identity())


def folded(layer: nn.Module, norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Return weight and bias, float32, of ``layer`` with ``norm`` folded in.

    Args:
        layer: Conv or Linear; weight ``(C, ...)``.
        norm: batch norm over ``C`` channels with running statistics.
    """
    weight = _double(layer.weight)
    mean = _double(norm.running_mean)
    gain = 1.0 / torch.sqrt(_double(norm.running_var) + float(norm.eps))  # type: ignore[arg-type]
    shift = torch.zeros_like(mean)
    if norm.affine:
        gain, shift = gain * _double(norm.weight), _double(norm.bias)
    bias = torch.zeros_like(mean) if layer.bias is None else _double(layer.bias)
    column = gain.reshape(-1, *[1] * (weight.ndim - 1))
    return (weight * column).float(), ((bias - mean) * gain + shift).float()


def _rest(norm: nn.Module) -> nn.Module | None:
    """Return what a batch norm does beside normalising; None if that is not known.

    timm's ``BatchNormAct2d`` drops out and activates behind it.
    """
    if type(norm) in BATCH_NORM_TYPES:
        return nn.Identity()
    parts = dict(norm.named_children())
    return nn.Sequential(norm.drop, norm.act) if set(parts) == {"drop", "act"} else None  # type: ignore[arg-type]


def _double(value: Tensor | nn.Module) -> Tensor:
    """Narrow an attribute of a module, which may be anything to a type checker."""
    assert isinstance(value, Tensor)
    return value.double()
