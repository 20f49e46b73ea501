"""The places of quantizers: in a torch module, and in a graph that it was converted to.

A converter keeps no boundary of a module whose output gets a quantizer, and may fuse what is
around an operand of a matrix product into one attention operation. A *mark* survives: a leaky ReLU
of slope 1 keeps every value, breaks the fusion, is merged with no neighbour (as a clamp would be
with a ReLU), and is found again by its module's name.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import wraps
from typing import Any, TypeVar, cast
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.ptq.hooks import Change, change_input, change_output
from ptq_pipeline.ptq.modules import Operand, replace_module
from ptq_pipeline.ptq.parameters import ActivationParameters, QuantizationParameters
from ptq_pipeline.ptq.preparation import PreparedModel, overridden
from ptq_pipeline.ptq.quantizer import QParams, fake_quantize

OUTPUT = "quantized_output"


def insert_quantizers(module: nn.Module, parameters: QuantizationParameters) -> None:
    """Give every layer of a copied module its rounded weight, and every quantizer its place."""
    for name, layer in parameters.layers.items():
        child = module.get_submodule(name)
        assert isinstance(child.weight, Tensor)
        weight = torch.from_numpy(layer.weight.dequantized()).to(child.weight.device)
        child.weight = nn.Parameter(weight, requires_grad=False)
        if layer.activation is not None:
            change_input(child, _quantizer(layer.activation))
    for name, activation in parameters.outputs.items():
        change_output(module.get_submodule(name), _quantizer(activation))


def _quantizer(activation: ActivationParameters) -> Change:
    # Kept on the CPU: torch's kernel takes scale and zero point as plain numbers.
    qparams = QParams(
        torch.tensor(activation.scale, dtype=torch.float32),
        torch.tensor(activation.zero_point, dtype=torch.int32),
        activation.scheme,
    )
    return lambda values: fake_quantize(values, qparams)


class Mark(nn.Module):
    """Passes its input through a leaky ReLU that changes nothing."""

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x``."""
        return _unchanged(x)


Conversion = TypeVar("Conversion", bound=Callable[..., Any])


def once_a_model(convert: Conversion) -> Conversion:
    """Let a conversion ``(prepared, *arguments)`` run once for each prepared model and arguments.

    Converting takes most of the time of whatever is done with a graph: what is looked at before
    long work, what is served and what ships share one. Do not change it.
    """
    known: WeakKeyDictionary[PreparedModel, dict[tuple[Any, ...], Any]] = WeakKeyDictionary()

    @wraps(convert)
    def remembered(prepared: PreparedModel, *arguments: Any) -> Any:
        of_model = known.setdefault(prepared, {})
        if arguments not in of_model:
            of_model[arguments] = convert(prepared, *arguments)
        return of_model[arguments]

    return cast("Conversion", remembered)


def graph_source(
    prepared: PreparedModel, parameters: QuantizationParameters | None
) -> tuple[PreparedModel, tuple[str, ...]]:
    """Return whose float graph takes the quantizers of these parameters, and the outputs to mark.

    A model whose method replaced float parameters has a graph of its own.
    """
    if parameters is None:
        return prepared, ()
    return overridden(prepared, parameters.overrides), tuple(parameters.outputs)


def marked(prepared: PreparedModel, outputs: Iterable[str]) -> tuple[nn.Module, dict[str, str]]:
    """Return a copied module with marks behind some modules, and what each mark is of, by its name.

    Raises:
        InputError: the model has no module of that name.
    """
    module = copy.deepcopy(prepared.module)
    names: dict[str, str] = {}
    for output in outputs:
        try:
            child = module.get_submodule(output)
        except AttributeError:
            raise InputError(
                f"quantization parameters do not fit the model: it has no module {output!r}"
            ) from None
        if isinstance(child, Operand):
            replace_module(module, child, Mark())
            names[output] = output
        else:
            child.add_module(OUTPUT, Mark())
            # A sequence runs what is added to it.
            if type(child).forward is not nn.Sequential.forward:
                child.register_forward_hook(_mark_output)
            names[f"{output}.{OUTPUT}"] = output
    return module, names


def _mark_output(module: nn.Module, args: Any, output: Tensor) -> Tensor:
    return module.get_submodule(OUTPUT)(output)


def fence(module: nn.Module, names: Iterable[str]) -> None:
    """Put a leaky ReLU of slope 1 on both sides of some layers of a copied module.

    What a converter fuses with its neighbours stays apart.
    """
    for name in names:
        child = module.get_submodule(name)
        change_input(child, _unchanged)
        change_output(child, _unchanged)


def _unchanged(values: Tensor) -> Tensor:
    return nn.functional.leaky_relu(values, 1.0)


class Matcher:
    """Finds the places of a prepared model in a converted graph, one operation at a time.

    Every layer must be found as often as it runs, with exactly its weight: if a converter changed
    that, the engine's integers would not fit. What else multiplies would stay in float. Operations
    come with their ``scopes``: dotted names of the modules that they are from, innermost first.
    """

    def __init__(self, converter: str, prepared: PreparedModel, marks: Mapping[str, str]) -> None:
        self.converter = converter
        self.prepared = prepared
        self.marks = marks
        self.calls = dict.fromkeys((layer.name for layer in prepared.layers), 0)
        self.marked: Counter[str] = Counter()

    def mark(self, scopes: Iterable[str]) -> str | None:
        """Return the module whose output an operation marks, or None."""
        name = next((self.marks[scope] for scope in scopes if scope in self.marks), None)
        if name is not None:
            self.marked[name] += 1
        return name

    def layer(
        self, operation: str, scopes: Collection[str], weight: np.ndarray | None
    ) -> str | None:
        """Return the layer that an operation which multiplies calls; None for a product of two.

        ``operation`` is what to call it in an error. ``weight`` has torch's order of axes; it is
        None if it is computed.

        Raises:
            InputError: it is neither a layer nor a known product, or its weight is another.
        """
        name = next((scope for scope in scopes if scope in self.calls), None)
        if name is not None:
            self.calls[name] += 1
            if weight is None or not self._is_weight(name, weight):
                raise InputError(
                    f"{self.converter}: the weight of layer {name!r} changed in conversion, so "
                    "the integers of the engine would not fit it"
                )
        elif not set(self.prepared.products) & set(scopes):
            raise InputError(
                f"{self.converter}: operation {operation} belongs to no layer of the prepared "
                "model, so it would stay in float"
            )
        return name

    def _is_weight(self, layer: str, weight: np.ndarray) -> bool:
        wanted = self.prepared.weight(layer)
        if weight.ndim == wanted.ndim + 1:
            # Converters may give the groups of a convolution an axis of their own.
            groups = next(each.groups for each in self.prepared.layers if each.name == layer)
            wanted = wanted.reshape(groups, -1, *wanted.shape[1:])
        return np.array_equal(weight, wanted)

    def require_all(self) -> None:
        """Check that every place was found.

        Raises:
            InputError: one was not, or not as often as its module runs.
        """
        for layer in self.prepared.layers:
            if self.calls[layer.name] != layer.calls:
                raise InputError(
                    f"{self.converter}: layer {layer.name!r} runs {layer.calls} times in torch and "
                    f"{self.calls[layer.name]} times in the converted graph"
                )
        missing = set(self.marks.values()) - set(self.marked)
        if missing:
            raise InputError(
                f"{self.converter}: the output of module {min(missing)!r} is not found in the "
                "converted graph"
            )
