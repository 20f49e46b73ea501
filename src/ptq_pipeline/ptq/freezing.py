"""Weights that a model computes from parameters alone: computed once, and then plain weights.

Weight norm, spectral norm, pruning masks and every `torch.nn.utils.parametrize` keep the parts of a
weight and put it together at each call. Standardised convolutions (Qiao et al., arXiv 1903.10520)
do so in their ``forward``. In evaluation the result is always the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune

from ptq_pipeline.ptq.modules import Constant, PreparationError, frozen, replace_module
from ptq_pipeline.ptq.routing import FunctionCall, layer_of
from ptq_pipeline.ptq.tracing import Call, Trace, computes_its_weight, trace

# By the number of axes that are padded.
PADDINGS: dict[int, Any] = {1: nn.ConstantPad1d, 2: nn.ConstantPad2d, 3: nn.ConstantPad3d}


def freeze_weights(module: nn.Module) -> None:
    """Put the weights in their places that parametrizations and hooks of torch compute.

    ``module`` is changed: in the place of the parts it has parameters of the weights' own names.
    """
    with torch.no_grad():
        for child in module.modules():
            if parametrize.is_parametrized(child):
                # Not by torch's function, which takes the property off a class that copies share.
                names = list(child.parametrizations)  # type: ignore[arg-type]
                values = {name: frozen(getattr(child, name)) for name in names}
                plain = parametrize.type_before_parametrizations(child)
                del child.parametrizations
                child.__class__ = plain
                for name, value in values.items():
                    child.register_parameter(name, value)
            for hook in list(child._forward_pre_hooks.values()):
                _remove(child, hook)


def _remove(child: nn.Module, hook: Any) -> None:
    """Take away one of torch's old hooks that compute a weight, and keep the weight."""
    kind = type(hook).__name__
    if isinstance(hook, prune.BasePruningMethod):
        with suppress(ValueError):
            prune.remove(child, hook._tensor_name)
    elif kind == "WeightNorm":
        torch.nn.utils.remove_weight_norm(child, hook.name)
    elif kind == "SpectralNorm":
        torch.nn.utils.remove_spectral_norm(child, hook.name)


def freeze_computed(root: nn.Module, example: Tensor) -> tuple[str, ...]:
    """Replace layers that compute their weight, and layers that no image changes.

    The former become plain layers, behind a padding where their ``forward`` pads; the latter
    constants, whose names are returned.

    Raises:
        PreparationError: a layer computes its weight from the images, or does more than to pad.
    """
    seen = trace(root, example)
    constant = constants(root, example, seen)
    computing = {call.module: None for call in seen.computed}
    for name in computing:
        calls = [call for call in seen.computed if call.module == name]
        runs = [call for call in seen.layers if call.name == name]
        plain = _plain_layer(calls, runs, constant)
        if plain is None:
            raise PreparationError(computes_its_weight(name))
        replace_module(root, root.get_submodule(name), plain)
    if computing:
        seen = trace(root, example)
        constant = constants(root, example, seen)
    times, fixed = Counter(run.name for run in seen.layers), []
    for run in seen.layers:
        if times[run.name] == 1 and {id(run.input), id(run.output)} <= constant:
            layer = root.get_submodule(run.name)
            replace_module(root, layer, Constant(layer, run.output))
            fixed.append(run.name)
    return tuple(fixed)


def constants(root: nn.Module, example: Tensor, seen: Trace) -> set[int]:
    """Return the ``id`` of every tensor of a trace that no image changes.

    The model is run on another number of other images: a constant has the same values there, and no
    gradient leads from it to the images.
    """
    noise = torch.Generator(example.device).manual_seed(0)
    shape = (len(example) + 1, *example.shape[1:])
    others = torch.rand(shape, generator=noise, device=example.device) * example.abs().amax()
    try:
        again = trace(root, others, follow=True)
    except Exception:  # noqa: BLE001 - a model may refuse other images with anything
        # What cannot be followed says nothing of what depends on what.
        return set()
    before, after = list(_recorded(seen)), list(_recorded(again))
    if len(before) != len(after):
        return set()
    return {
        id(then)
        for then, now in zip(before, after, strict=True)
        if not now.requires_grad and then.shape == now.shape and torch.equal(then, now)
    }


def _recorded(found: Trace) -> Iterator[Tensor]:
    """Yield inputs and outputs of layers, and all arguments of functions, in order."""
    for call in found.layers:
        yield from (each for each in (call.input, call.output) if isinstance(each, Tensor))
    for function in (*found.functions, *found.computed):
        given = (*function.args, *function.kwargs.values())
        flat = [inner for each in given for inner in (each if isinstance(each, list) else [each])]
        yield from (each for each in flat if isinstance(each, Tensor))


def _plain_layer(
    calls: list[FunctionCall], runs: list[Call], constant: set[int]
) -> nn.Module | None:
    """Return plain layers that do what a layer with a computed weight did, as far as can be seen.

    Whether they do is checked with the whole model.
    """
    if id(calls[0].weight) not in constant or len(calls) != len(runs):
        return None
    layer = layer_of(calls[0])[1].eval()
    pads = {
        None if run.input is None else _padding(run.input, call.args[0])
        for call, run in zip(calls, runs, strict=True)
    }
    if len(pads) > 1 or None in pads:
        return None
    (pad,) = pads
    assert pad is not None
    return nn.Sequential(PADDINGS[len(pad) // 2](pad, 0.0), layer) if any(pad) else layer


def _padding(given: Tensor, padded: Tensor) -> tuple[int, ...] | None:
    """Return what was added at the ends of the last axes, the last axis first; None if unknown."""
    if given.shape == padded.shape:
        return ()
    if given.ndim != padded.ndim or given.shape[:2] != padded.shape[:2]:
        return None
    pads: list[int] = []
    for before, after in zip(reversed(given.shape[2:]), reversed(padded.shape[2:]), strict=True):
        added = after - before
        pads += [added // 2, added - added // 2]
    return tuple(pads) if min(pads, default=-1) >= 0 else None
