"""One instrumented forward pass: which modules run, on what, and what escapes them.

Hooks see modules, `torch.overrides.TorchFunctionMode` sees every call of a torch function. Together
they need no symbolic trace, so any Python in ``forward`` is fine.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ptq_pipeline.ptq.hooks import during
from ptq_pipeline.ptq.modules import Operand, PreparationError
from ptq_pipeline.ptq.routing import ROUTABLE, FunctionCall, where

LAYER_TYPES = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
BATCH_NORM_TYPES = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
ACTIVATIONS = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Mish),
    *(nn.Hardswish, nn.Hardsigmoid, nn.Hardtanh, nn.Sigmoid, nn.Tanh, nn.Softplus),
)

# Names of torch functions that multiply and add: what has to be quantized wherever it happens.
MULTIPLYING = frozenset(
    {
        *(f"conv{d}d" for d in (1, 2, 3)),
        *(f"conv_transpose{d}d" for d in (1, 2, 3)),
        "convolution",
        "linear",
        "bilinear",
        *("matmul", "__matmul__", "__rmatmul__", "mm", "bmm", "mv", "dot", "inner", "vdot"),
        *("addmm", "addmm_", "addbmm", "addbmm_", "baddbmm", "baddbmm_", "addmv", "chain_matmul"),
        *("einsum", "tensordot", "scaled_dot_product_attention", "multi_head_attention_forward"),
        *("_native_multi_head_attention", "_transformer_encoder_layer_fwd"),
        *("lstm", "gru", "rnn_tanh", "rnn_relu"),
        *("lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell"),
    }
)


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a module; its tensors are kept alive, so that their identities stay their own.

    ``input`` is None unless the module was called with one tensor alone. The versions are torch's
    counts of in-place changes, right after the call.
    """

    name: str
    module: nn.Module
    input: Tensor | None
    output: Any
    input_version: int
    output_version: int


@dataclass
class Trace:
    """What one forward pass did.

    Attributes:
        calls: of modules, in the order in which they ended.
        functions: calls of multiplying functions outside layers and operands, in order.
        computed: calls in layers that take another weight than the layer's own parameter.
        consumers: how many torch calls took the output of a layer call, by ``id`` of that output.
        output: what the model returned.
    """

    calls: list[Call] = field(default_factory=list)
    functions: list[FunctionCall] = field(default_factory=list)
    computed: list[FunctionCall] = field(default_factory=list)
    consumers: dict[int, int] = field(default_factory=dict)
    output: Any = None

    @property
    def layers(self) -> list[Call]:
        """Calls of Conv and Linear modules."""
        return [call for call in self.calls if isinstance(call.module, LAYER_TYPES)]

    @property
    def operands(self) -> list[Call]:
        """Calls of operands of matrix products."""
        return [call for call in self.calls if isinstance(call.module, Operand)]

    @property
    def batch_norms(self) -> list[Call]:
        """Calls of batch norms."""
        return [call for call in self.calls if isinstance(call.module, BATCH_NORM_TYPES)]


def trace(module: nn.Module, images: Tensor, follow: bool = False) -> Trace:
    """Run a model in evaluation mode once, on one batch, and record every call of a module.

    With ``follow`` a tensor that is recorded requires a gradient if the images change it by
    differentiable functions.

    Raises:
        PreparationError: a function multiplies that cannot be made into a layer, or a layer is not
            called with a tensor as its first argument.
    """
    recorder = _Recorder()
    handles = []
    for name, child in module.named_modules():
        handles.append(child.register_forward_pre_hook(recorder.entering(name)))
        handles.append(child.register_forward_hook(recorder.leaving(name), with_kwargs=True))
    # Not inference mode: its tensors do not count in-place changes.
    with during(handles), torch.set_grad_enabled(follow):
        # Not a leaf, which no function may change in place.
        given = images.clone().requires_grad_() * 1.0 if follow else images
        with recorder:
            recorder.trace.output = module(given)
    return recorder.trace


@dataclass(frozen=True)
class _Frame:
    """A module that is running."""

    name: str
    module: nn.Module
    visit: int


class _Recorder(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.trace = Trace()
        self._inside: list[_Frame] = []
        self._visits: Counter[str] = Counter()

    def entering(self, name: str) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...]) -> None:
            is_layer = isinstance(module, LAYER_TYPES)
            if is_layer and not (args and isinstance(args[0], Tensor)):
                raise PreparationError(
                    f"layer {name!r} is not called with a tensor as its first positional "
                    "argument; call it as layer(x)"
                )
            self._inside.append(_Frame(name, module, self._visits[name]))
            self._visits[name] += 1

        return hook

    def leaving(self, name: str) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: Any, output: Any) -> None:
            self._inside.pop()
            alone = len(args) == 1 and not kwargs and isinstance(args[0], Tensor)
            # A layer may take more than its input, which comes first in any case.
            given = args[0] if alone or isinstance(module, LAYER_TYPES) else None
            self.trace.calls.append(
                Call(name, module, given, output, _version(given), _version(output))
            )
            consumers = self.trace.consumers
            if isinstance(module, LAYER_TYPES):
                consumers[id(output)] = 0
            elif isinstance(module, Operand) and id(given) in consumers:
                consumers[id(given)] += 1

        return hook

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in MULTIPLYING:
            self._multiplies(name, args, kwargs)
        result = func(*args, **kwargs)
        # Reading a shape or a size is not using the values.
        if any(True for _ in _tensors(result)):
            for given in _tensors((args, kwargs)):
                if id(given) in self.trace.consumers:
                    self.trace.consumers[id(given)] += 1
        return result

    def _multiplies(self, function: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        frame = self._inside[-1] if self._inside else _Frame("", nn.Identity(), 0)
        layer = next((f for f in self._inside if isinstance(f.module, LAYER_TYPES)), None)
        call = FunctionCall(frame.name, frame.visit, function, args, kwargs)
        if layer is not None:
            if frame is layer and call.weight is not layer.module.weight:
                self.trace.computed.append(call)
            return
        if function not in ROUTABLE:
            raise PreparationError(
                f"{where(frame.name)} calls {function}() outside a Conv or Linear module, so it "
                "would stay in float unnoticed; put the operation into an nn.Conv or nn.Linear "
                "module, or leave this model out"
            )
        self.trace.functions.append(call)


def computes_its_weight(layer: str) -> str:
    """Return the text of the error that a layer's weight is no plain parameter."""
    return (
        f"layer {layer!r} computes its weight from other tensors; make it a plain parameter "
        "first, for example by torch.nn.utils.parametrize.remove_parametrizations"
    )


def _version(value: Any) -> int:
    return value._version if isinstance(value, Tensor) else 0


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))
