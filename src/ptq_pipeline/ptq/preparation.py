"""From a trained float model to one that can be quantized: copied, folded, every layer named.

Products by functions become modules first (`routing`), attention becomes matrix products
(`modules`). Nothing is passed over in silence: what multiplies and cannot be covered, a parameter
that is not float32 or not finite are errors that name the place.

A batch norm ``y = gamma (W x + b - mean) / sqrt(var + eps) + beta`` is folded into its layer: with
``g = gamma / sqrt(var + eps)`` per output channel ``W' = g W``, ``b' = g (b - mean) + beta`` (Jacob
et al., CVPR 2018, section 3.2), computed in float64, stored as float32.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.ptq.freezing import constants, freeze_computed, freeze_weights
from ptq_pipeline.ptq.modules import PreparationError, Unused, replace_attention, replace_module
from ptq_pipeline.ptq.quantizer import column
from ptq_pipeline.ptq.routing import route
from ptq_pipeline.ptq.tracing import (
    BATCH_NORM_TYPES,
    LAYER_TYPES,
    Trace,
    computes_its_weight,
    trace,
)

# Float32 rounding of a folded network stays far below this; a wrong fold is far above.
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Layer:
    """One Conv or Linear module of a prepared model.

    Attributes:
        name: dotted name in the module tree, for example ``blocks.0.conv1``.
        kind: class of the module in lower case, for example ``conv2d``.
        weight_shape: ``(C_out, ...)``.
        groups: of a convolution, 1 for Linear.
        calls: how often one forward pass calls it; all calls share one input quantizer.
        same_input_as: first layer that reads the same tensor, or None: their statistics are equal.
    """

    name: str
    kind: str
    weight_shape: tuple[int, ...]
    groups: int
    calls: int
    same_input_as: str | None


@dataclass(frozen=True, eq=False)
class PreparedModel:
    """A float model ready for quantization; equal to the original within float rounding.

    Attributes:
        module: folded copy in evaluation mode without gradients; do not change it.
        layers: every Conv and Linear, in call order.
        input_shape: ``(C, H, W)`` of the example input.
        folded_batch_norms: names of batch norms that are now part of a layer.
        float_batch_norms: names of batch norms that do not follow a layer directly and stay.
        operands: modules through which operands of products of two activations go, in call order.
        unused_layers: names of layers that did not run, such as heads for training only; modules
            that refuse to run have taken their places.
        constant_layers: names of layers that no image changes; what they return is a constant.
    """

    module: nn.Module
    layers: tuple[Layer, ...]
    input_shape: tuple[int, ...]
    folded_batch_norms: tuple[str, ...]
    float_batch_norms: tuple[str, ...]
    operands: tuple[str, ...] = ()
    unused_layers: tuple[str, ...] = ()
    constant_layers: tuple[str, ...] = ()

    @property
    def first_readers(self) -> dict[str, str]:
        """Every place whose input is quantized, layers then operands, and who reads it first."""
        first = {layer.name: layer.same_input_as or layer.name for layer in self.layers}
        return first | {name: name for name in self.operands}

    @property
    def products(self) -> tuple[str, ...]:
        """Dotted names of all products of two activations, in call order."""
        return tuple(dict.fromkeys(operand.rpartition(".")[0] for operand in self.operands))

    @property
    def device(self) -> torch.device:
        """Where the module's parameters are."""
        return next(self.module.parameters()).device

    def layer_module(self, name: str) -> nn.Module:
        """Return the module of a layer by its dotted name."""
        return self.module.get_submodule(name)

    def weight(self, name: str) -> np.ndarray:
        """Return the folded float32 weight ``(C_out, ...)`` of a layer."""
        weight = self.layer_module(name).weight
        assert isinstance(weight, Tensor)
        return weight.detach().cpu().numpy()


def prepare(
    module: nn.Module, example_input: Tensor, *, output_dimensions: int = 2
) -> PreparedModel:
    """Copy a model, fold its batch norms and find every layer that has to be quantized.

    Args:
        module: trained model with float32 parameters; not changed. The result is on its device.
        example_input: float32 ``(n, C, H, W)``; a few real images, preprocessed. Two or more make
            the check of the folded model sharper.
        output_dimensions: of the output: 2 for a classifier's ``(n, classes)``, 3 for a detector's
            ``(n, places, values)``.

    Raises:
        PreparationError: a parameter or buffer is not float32 or not finite; something multiplies
            that cannot be covered; a layer computes its own weight; the output is not one tensor
            of so many dimensions; the prepared model gives another output.
    """
    copied = copy.deepcopy(module).eval().requires_grad_(False)
    freeze_weights(copied)
    _check_values(copied)
    if not _layer_names(copied):
        raise PreparationError("the model has no Conv or Linear module, so nothing to quantize")
    device = next(copied.parameters()).device
    example = example_input.to(device=device, dtype=torch.float32)
    with torch.no_grad():
        expected = copied(example)
    _check_output(expected, len(example), output_dimensions)
    copied = replace_attention(copied)
    fixed = freeze_computed(copied, example)
    seen = trace(copied, example)
    constant = constants(copied, example, seen)
    kept = route(copied, seen.functions, (call.name for call in seen.layers), constant)
    unfolded = trace(copied, example)
    unused = _refuse_unused(copied, unfolded, kept)
    pairs = _foldable_pairs(unfolded)
    _fold(copied, pairs)
    _flush(copied)
    after = trace(copied, example)
    _check_equal(expected, after.output)
    return PreparedModel(
        module=copied,
        layers=_layers_of(after),
        input_shape=tuple(example.shape[1:]),
        folded_batch_norms=tuple(pairs),
        float_batch_norms=tuple(dict.fromkeys(call.name for call in after.batch_norms)),
        operands=tuple(dict.fromkeys(call.name for call in after.operands)),
        unused_layers=unused,
        constant_layers=fixed,
    )


def overridden(prepared: PreparedModel, overrides: Mapping[str, np.ndarray]) -> PreparedModel:
    """Return a prepared model with some parameters and buffers replaced, by dotted name.

    A layer without bias can be given one. With nothing to replace it is the model itself.

    Raises:
        InputError: the model has no such parameter, or it has another shape.
    """
    if not overrides:
        return prepared
    module = copy.deepcopy(prepared.module)
    for name, value in overrides.items():
        _override(module, name, torch.from_numpy(np.array(value)).to(prepared.device))
    return replace(prepared, module=module)


def _override(module: nn.Module, name: str, value: Tensor) -> None:
    path, _, attribute = name.rpartition(".")
    try:
        owner = module.get_submodule(path)
        old = getattr(owner, attribute)
    except AttributeError:
        raise InputError(
            f"quantization parameters do not fit the model: it has no parameter {name!r}"
        ) from None
    # A layer without bias has room for one.
    weight = getattr(owner, "weight", None)
    wanted = old.shape if isinstance(old, Tensor) else () if weight is None else weight.shape[:1]
    if value.shape != wanted:
        raise InputError(
            f"quantization parameters do not fit the model: {name!r} has shape {tuple(wanted)} in "
            f"the model and {tuple(value.shape)} in the parameters"
        )
    if attribute in owner._buffers:
        owner.register_buffer(attribute, value)
    else:
        setattr(owner, attribute, nn.Parameter(value, requires_grad=False))


def _check_values(module: nn.Module) -> None:
    named = {"parameter": module.named_parameters(), "buffer": module.named_buffers()}
    for kind, values in named.items():
        for name, value in values:
            if not value.is_floating_point():
                continue
            if value.dtype != torch.float32:
                raise PreparationError(
                    f"{kind} {name!r} is {value.dtype}; only float32 models can be prepared: "
                    "convert it with model.float()"
                )
            if not bool(torch.isfinite(value).all()):
                raise PreparationError(f"{kind} {name!r} holds NaN or infinite values")
    for name, child in module.named_modules():
        if isinstance(child, LAYER_TYPES) and "weight" not in child._parameters:
            raise PreparationError(computes_its_weight(name))


def _layer_names(module: nn.Module) -> list[str]:
    return [name for name, child in module.named_modules() if isinstance(child, LAYER_TYPES)]


def _refuse_unused(module: nn.Module, found: Trace, kept: set[str]) -> tuple[str, ...]:
    ran = {call.name for call in found.layers}
    unused = tuple(name for name in _layer_names(module) if name not in ran | kept)
    if not ran:
        raise PreparationError(f"layers that never run in forward: {list(unused)}; none runs")
    for name in unused:
        replace_module(module, module.get_submodule(name), Unused(name))
    return unused


def _check_output(output: Any, images: int, dimensions: int) -> None:
    if not isinstance(output, Tensor) or output.ndim != dimensions or len(output) != images:
        got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        wanted = (
            f"logits of shape ({images}, classes)"
            if dimensions == 2
            else f"one tensor of {dimensions} dimensions, the first of {images},"
        )
        raise PreparationError(f"the model must return {wanted} for {images} images, got {got}")
    if not bool(torch.isfinite(output).all()):
        raise PreparationError("the float model returns NaN or infinite logits on the example")


def _check_equal(expected: Tensor, got: Tensor) -> None:
    allowed = TOLERANCE * max(float(expected.abs().max()), 1.0)
    worst = float((expected - got).abs().max())
    if not worst <= allowed:
        raise PreparationError(
            f"preparing the model (folding batch norms, spelling out attention) changed the logits "
            f"by up to {worst:.3g} (allowed {allowed:.3g}); some output of a layer is used in a "
            "way that cannot be seen"
        )


def _layers_of(found: Trace) -> tuple[Layer, ...]:
    calls = Counter(call.name for call in found.layers)
    first_reader: dict[tuple[int, int], str] = {}
    layers: dict[str, Layer] = {}
    for call in found.layers:
        if call.name in layers:
            continue
        reader = None
        if calls[call.name] == 1:
            reader = first_reader.setdefault((id(call.input), call.input_version), call.name)
        weight = call.module.weight
        assert isinstance(weight, Tensor)
        layers[call.name] = Layer(
            name=call.name,
            kind=type(call.module).__name__.lower(),
            weight_shape=tuple(weight.shape),
            groups=int(getattr(call.module, "groups", 1)),
            calls=calls[call.name],
            same_input_as=None if reader == call.name else reader,
        )
    return tuple(layers.values())


def _foldable_pairs(found: Trace) -> dict[str, str]:
    """Return which batch norm can be folded into which layer, by their names.

    The batch norm takes the very tensor that the layer returned, unchanged in between, nothing else
    takes it, both run once, and the batch norm has running statistics.
    """
    layer_runs = Counter(call.name for call in found.layers)
    norm_runs = Counter(call.name for call in found.batch_norms)
    made_by = {id(call.output): call for call in found.layers}
    pairs = {}
    for call in found.batch_norms:
        source = made_by.get(id(call.input))
        if source is None or source.output_version != call.input_version:
            continue
        plain = _rest(call.module) is not None and call.module.running_mean is not None
        channels_agree = not isinstance(source.module, nn.Linear) or source.output.ndim == 2
        alone = found.consumers[id(call.input)] == 1 and call.input is not found.output
        once = layer_runs[source.name] == 1 and norm_runs[call.name] == 1
        if plain and channels_agree and alone and once:
            pairs[call.name] = source.name
    return pairs


@torch.no_grad()
def _fold(module: nn.Module, pairs: Mapping[str, str]) -> None:
    """Fold each batch norm into its layer and leave an identity in its place.

    Parameters of folded layers are new tensors: one that is shared with another layer keeps its
    value there.
    """
    for norm_name, layer_name in pairs.items():
        layer, norm = module.get_submodule(layer_name), module.get_submodule(norm_name)
        weight, bias = _folded(layer, norm)
        layer.weight = nn.Parameter(weight, requires_grad=False)
        layer.bias = nn.Parameter(bias, requires_grad=False)
        replace_module(module, norm, _rest(norm) or nn.Identity())


@torch.no_grad()
def _flush(module: nn.Module) -> None:
    """Make numbers below the normal ones of float32 zero, as converters do."""
    for parameter in module.parameters():
        if parameter.dtype == torch.float32:
            parameter[parameter.abs() < torch.finfo(torch.float32).tiny] = 0.0


def _folded(layer: nn.Module, norm: nn.Module) -> tuple[Tensor, Tensor]:
    weight, mean = _double(layer.weight), _double(norm.running_mean)
    gain = 1.0 / torch.sqrt(_double(norm.running_var) + float(norm.eps))  # type: ignore[arg-type]
    shift = torch.zeros_like(mean)
    if norm.affine:
        gain, shift = gain * _double(norm.weight), _double(norm.bias)
    bias = torch.zeros_like(mean) if layer.bias is None else _double(layer.bias)
    return (weight * column(gain, weight)).float(), ((bias - mean) * gain + shift).float()


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
