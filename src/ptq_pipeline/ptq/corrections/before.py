"""Corrections before rounding: scales move between layers, to make an equal, easier model.

Which layers belong together is read from one forward pass, and every change is kept only if the
logits stay the same on the images, so what a pass cannot show (a second reader of a tensor) costs
nothing but the gain.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ptq_pipeline.ptq.hooks import visit_outputs
from ptq_pipeline.ptq.preparation import PreparedModel
from ptq_pipeline.ptq.quantizer import column
from ptq_pipeline.ptq.tracing import ACTIVATIONS, trace

# f(s x) = s f(x) for s > 0.
HOMOGENEOUS = (nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.Identity, nn.Dropout)
TOLERANCE = 1e-4
IMAGES_TO_CHECK = 32
SWEEPS = 10


def cross_layer_equalization(
    prepared: PreparedModel, images: Tensor
) -> tuple[PreparedModel, tuple[str, ...]]:
    """Give each channel between two layers the same range on both sides.

    Nagel et al., Data-Free Quantization, ICCV 2019 (arXiv 1906.04721): with ``r1`` the range of an
    output channel of the first weight and ``r2`` that of the same input channel of the second,
    ``s = sqrt(r1 r2) / r2``; the first weight and bias are divided by s, the second weight is
    multiplied. Between the layers may be what is positively homogeneous, such as ReLU. ReLU6 is
    not, and is not replaced (the paper replaces it by ReLU, which changes the model that is
    audited): such layers are left as they are.

    Returns a changed copy, which some images prove to be the same model, and a note on such layers.
    """
    module = copy.deepcopy(prepared.module)
    check = _Check(module, images)
    pairs, held = [], []
    for first, second, between in _pairs(prepared, images[:1]):
        if between:
            held.append((first, second, between))
        elif check.keeps(first, second, change=_equalize):
            pairs.append((first, second))
    for _ in range(SWEEPS - 1):
        for first, second in pairs:
            _equalize(module.get_submodule(first), module.get_submodule(second))
    changed = replace(prepared, module=module)
    if not held:
        return changed, ()
    kinds = ", ".join(sorted({between for _, _, between in held}))
    named = ", ".join(f"{first!r} and {second!r}" for first, second, _ in held)
    return changed, (
        f"cross_layer_equalization: {len(held)} pairs of layers keep their scales, because {kinds} "
        f"between them does not pass a scale on: {named}",
    )


def smooth_quant(prepared: PreparedModel, images: Tensor, alpha: float = 0.5) -> PreparedModel:
    """Move large activation channels behind a LayerNorm into the weights that read them.

    Xiao et al., SmoothQuant, ICML 2023 (arXiv 2211.10438): ``s_j = max|X_j|^alpha /
    max|W_j|^(1 - alpha)``; the LayerNorm's weight and bias are divided by s, the columns of every
    Linear layer that reads it are multiplied. ``alpha`` is the share of the difficulty that goes to
    the weights. The result is a changed copy.
    """
    module = copy.deepcopy(prepared.module)
    largest = _largest_outputs(module, images)
    check = _Check(module, images)
    for norm, readers in _norms(prepared, images[:1]).items():

        def scale(first: Any, *layers: Any, norm: str = norm) -> None:
            columns = torch.stack([layer.weight.abs().amax(0) for layer in layers]).amax(0)
            s = largest[norm].clamp(min=1e-5) ** alpha / columns.clamp(min=1e-5) ** (1 - alpha)
            first.weight.div_(s)
            if first.bias is not None:
                first.bias.div_(s)
            for layer in layers:
                layer.weight.mul_(s)

        check.keeps(norm, *readers, change=scale)
    return replace(prepared, module=module)


class _Check:
    """Makes a change and takes it back if the logits differ."""

    def __init__(self, module: nn.Module, images: Tensor) -> None:
        self.module = module
        self.images = images[:IMAGES_TO_CHECK]
        with torch.no_grad():
            self.expected = module(self.images)

    def keeps(self, *names: str, change: Callable[..., None]) -> bool:
        parts = [self.module.get_submodule(name) for name in names]
        saved = [copy.deepcopy(part.state_dict()) for part in parts]
        with torch.no_grad():
            change(*parts)
            got = self.module(self.images)
        allowed = TOLERANCE * max(float(self.expected.abs().max()), 1.0)
        if float((got - self.expected).abs().max()) <= allowed:
            return True
        for part, state in zip(parts, saved, strict=True):
            part.load_state_dict(state)
        return False


@torch.no_grad()
def _equalize(first: Any, second: Any) -> None:
    first_range = first.weight.flatten(1).abs().amax(1)
    weight = second.weight
    groups = int(getattr(second, "groups", 1))
    # Input channels, over all groups: (groups, rows, columns of the group, kernel).
    grouped = weight.reshape(groups, len(weight) // groups, weight.shape[1], -1)
    second_range = grouped.abs().amax((1, 3)).flatten()
    usable = (first_range > 0) & (second_range > 0)
    s = torch.where(usable, (first_range / second_range).sqrt(), 1.0)
    first.weight.div_(column(s, first.weight))
    if first.bias is not None:
        first.bias.div_(s)
    grouped.mul_(s.reshape(groups, 1, -1, 1))
    second.weight.copy_(grouped.reshape(weight.shape))


def _pairs(prepared: PreparedModel, example: Tensor) -> Iterator[tuple[str, str, str]]:
    """Yield layers of which the second reads the first through activation functions only.

    The third entry is the type of the first function that is not homogeneous, or "".
    """
    layers = {layer.name: layer for layer in prepared.layers if layer.calls == 1}
    source: dict[int, tuple[str, str]] = {}
    for call in trace(prepared.module, example).calls:
        module = call.module
        first, between = source.get(id(call.input), ("", ""))
        if call.name in layers:
            inputs = getattr(module, "in_channels", getattr(module, "in_features", 0))
            if first and layers[first].weight_shape[0] == inputs:
                yield first, call.name, between
            source[id(call.output)] = call.name, ""
        elif first and isinstance(module, HOMOGENEOUS):
            source[id(call.output)] = first, between
        elif first and isinstance(module, ACTIVATIONS):
            source[id(call.output)] = first, between or type(module).__name__


def _norms(prepared: PreparedModel, example: Tensor) -> dict[str, list[str]]:
    """Return every LayerNorm and the Linear layers that read it.

    What moves tokens about (Swin's windows) may be between the two: where no layer reads the very
    output of a norm, the next layer of its width is tried, and the check proves it.
    """
    layers = {layer.name for layer in prepared.layers if layer.kind == "linear"}
    source: dict[int, str] = {}
    found: dict[str, list[str]] = {}
    likely: dict[str, list[str]] = {}
    last, width = "", 0
    for call in trace(prepared.module, example).calls:
        module: Any = call.module
        if isinstance(module, nn.LayerNorm) and module.weight is not None:
            if len(module.normalized_shape) == 1:
                last, width = call.name, len(module.weight)
                source[id(call.output)] = call.name
        elif isinstance(module, nn.Identity | nn.Dropout) and id(call.input) in source:
            source[id(call.output)] = source[id(call.input)]
        elif call.name in layers and id(call.input) in source:
            found.setdefault(source[id(call.input)], []).append(call.name)
        elif call.name in layers and last and module.in_features == width:
            likely.setdefault(last, [call.name])
    return likely | found


def _largest_outputs(module: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Return the largest absolute value of each channel that each LayerNorm returned."""
    found: dict[str, Tensor] = {}

    def keep(name: str, output: Tensor) -> None:
        largest = output.abs().flatten(0, -2).amax(0)
        found[name] = torch.maximum(found[name], largest) if name in found else largest

    norms = [name for name, child in module.named_modules() if isinstance(child, nn.LayerNorm)]
    for part in images.split(32):
        visit_outputs(module, norms, part, keep)
    return found
