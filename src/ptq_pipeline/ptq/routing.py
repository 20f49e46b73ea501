"""Functional products made into modules: ``F.linear``, ``F.conv2d``, ``@`` and attention functions.

A module whose own ``forward`` multiplies by functions is *routed*: while it runs, a
`TorchFunctionMode` sends each of these calls to a child module, where quantizers can sit. Its class
becomes a subclass of its class, as `torch.nn.utils.parametrize` does it, so ``forward`` stays the
author's code, and copies, `torch.jit.trace` and `torch.export` see ordinary modules.

- ``F.linear`` and ``F.conv*d`` with a parameter as weight: to the layer that owns the parameter if
  it never runs itself (torchvision's Swin), else to a new layer. They are recognised by the
  parameter's identity.
- the same with a weight that is computed from parameters alone: to a new layer, by position.
- ``matmul``, ``bmm``, ``mm``, ``@``: to a new `MatMul` by position in ``forward``, or to a
  `ProductWithWeight` where one of both is the same for all images.
- ``einsum``: to a new `Einsum`, where it is a matrix product.
- ``scaled_dot_product_attention``: to a new `ScaledDotProductAttention` by position.

A forward pass that makes another number of such calls than the traced one is an error.
"""

from __future__ import annotations

import functools
from collections.abc import Container, Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ptq_pipeline.ptq.modules import (
    Einsum,
    MatMul,
    PreparationError,
    ProductWithWeight,
    ScaledDotProductAttention,
    frozen,
    linear,
)

PRODUCTS = frozenset({"matmul", "__matmul__", "__rmatmul__", "mm", "bmm"})
ATTENTION = "scaled_dot_product_attention"
EINSUM = "einsum"
CONVOLUTIONS: dict[str, type[nn.Conv1d] | type[nn.Conv2d] | type[nn.Conv3d]] = {
    "conv1d": nn.Conv1d,
    "conv2d": nn.Conv2d,
    "conv3d": nn.Conv3d,
}
OF_ACTIVATIONS = PRODUCTS | {ATTENTION, EINSUM}
ROUTABLE = OF_ACTIVATIONS | {"linear", *CONVOLUTIONS}


@dataclass(frozen=True, eq=False)
class FunctionCall:
    """One call of a multiplying function outside a layer.

    ``module`` is the innermost one that runs, "" for the model itself, and ``visit`` which run of
    it this is: a shared module runs several times. Arguments are kept alive, so that identities
    stay their own.
    """

    module: str
    visit: int
    function: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @property
    def operands(self) -> tuple[Any, Any]:
        """Both operands of a product of activations, the left one first."""
        given = (*self.args, *self.kwargs.values())
        if self.function == EINSUM:
            found = given[1:] if len(given) > 2 else tuple(given[1])
            return found if len(found) == 2 else (None, None)
        return given[1::-1] if self.function == "__rmatmul__" else given[:2]

    @property
    def weight(self) -> Any:
        """Second argument: the weight of a linear or a convolution."""
        return self.args[1] if len(self.args) > 1 else self.kwargs.get("weight")

    @property
    def bias(self) -> Any:
        """Third argument of a linear or a convolution."""
        return self.args[2] if len(self.args) > 2 else self.kwargs.get("bias")


def route(
    root: nn.Module,
    calls: Iterable[FunctionCall],
    running: Iterable[str],
    constant: Container[int] = frozenset(),
) -> set[str]:
    """Give every function call of one forward pass a child module of ``root`` to go to.

    ``constant`` holds the ``id`` of every argument of the calls that no image changes.

    Returns names of layers that are not ``running`` as modules and yet have to stay: a routed
    module hands their weight to a function.

    Raises:
        PreparationError: a call cannot be covered; the message names the module.
    """
    by_module: dict[str, dict[int, list[FunctionCall]]] = {}
    for call in calls:
        by_module.setdefault(call.module, {}).setdefault(call.visit, []).append(call)
    ran = set(running)
    kept: set[str] = set()
    for name, visits in by_module.items():
        first, *others = visits.values()
        if any([c.function for c in other] != [c.function for c in first] for other in others):
            raise PreparationError(
                f"{where(name)} runs several times and multiplies by other functions each time; "
                "give each use a module of its own"
            )
        kept |= _route_one(root, name, first, ran, constant)
    return kept


def _routed(kind: type[nn.Module]) -> type[nn.Module]:
    """Return a subclass whose ``forward`` sends its products to children."""

    # Exporters read the signature.
    @functools.wraps(kind.forward)
    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        with _Router(self) as router:
            output = kind.forward(self, *args, **kwargs)
        if router.seen != self._ptq_calls:
            raise PreparationError(
                f"{kind.__name__} made {router.seen} products by functions where "
                f"{self._ptq_calls} were prepared; its forward depends on its input"
            )
        return output

    return type(f"Routed{kind.__name__}", (kind,), {"__module__": __name__, "forward": forward})


class _Router(TorchFunctionMode):
    def __init__(self, module: Any) -> None:
        super().__init__()
        self.module = module
        self.position = 0
        self.computed = 0
        self.seen = 0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in OF_ACTIVATIONS:
            return self._product(name, args, kwargs)
        if name in ROUTABLE:
            call = FunctionCall("", 0, name, args, kwargs)
            given = args[0] if args else kwargs["input"]
            for path, (target, adds_bias) in self.module._ptq_layers.items():
                owner, _, attribute = path.rpartition(".")
                if getattr(self.module.get_submodule(owner), attribute) is call.weight:
                    self.seen += 1
                    output = self.module.get_submodule(target)(given)
                    if not adds_bias:
                        return output
                    axes = 0 if name == "linear" else int(name[4])
                    return output + call.bias.reshape(-1, *[1] * axes)
            if self.computed < len(self.module._ptq_computed):
                target = self.module._ptq_computed[self.computed]
                self.computed += 1
                self.seen += 1
                return self.module.get_submodule(target)(given)
        return func(*args, **kwargs)

    def _product(self, name: str, args: tuple[Any, ...], kwargs: Any) -> Any:
        if self.position == len(self.module._ptq_products):
            raise PreparationError(
                f"{type(self.module).__name__} makes more products by functions than when it was "
                "prepared; its forward depends on its input"
            )
        target = self.module.get_submodule(self.module._ptq_products[self.position])
        self.position += 1
        self.seen += 1
        if name == ATTENTION:
            return target(*args, **kwargs)
        return target(*FunctionCall("", 0, name, args, kwargs).operands)


def _route_one(
    root: nn.Module,
    name: str,
    calls: list[FunctionCall],
    running: set[str],
    constant: Container[int],
) -> set[str]:
    module = root.get_submodule(name)
    layers: dict[str, tuple[str, bool]] = {}
    products: list[str] = []
    computed: list[str] = []
    kept: set[str] = set()
    for call in calls:
        if call.function in OF_ACTIVATIONS:
            products.append(_add_child(module, *_product_for(call, constant)))
            continue
        path = _owner(module, call)
        if path is None:
            if id(call.weight) not in constant or not (
                call.bias is None or id(call.bias) in constant
            ):
                raise PreparationError(
                    f"{where(call.module)} calls {call.function}() with a weight that the images "
                    "change, so there is no layer to quantize; make it an nn.Conv or nn.Linear "
                    "module, or leave this model out"
                )
            computed.append(_add_child(module, *layer_of(call)))
            continue
        if path in layers:
            continue
        layers[path] = _layer_for(module, name, path, call, running)
        owner = path.rpartition(".")[0]
        if owner and layers[path][0] != owner:
            kept.add(f"{name}.{owner}" if name else owner)
    module.__class__ = _routed(type(module))
    module._ptq_layers = layers  # type: ignore[assignment]
    module._ptq_products = tuple(products)  # type: ignore[assignment]
    module._ptq_computed = tuple(computed)  # type: ignore[assignment]
    module._ptq_calls = len(calls)  # type: ignore[assignment]
    return kept


def _product_for(call: FunctionCall, constant: Container[int]) -> tuple[str, nn.Module]:
    """Return the module for a product of two tensors, and the stem of its name."""
    if call.function == ATTENTION:
        return "attention", ScaledDotProductAttention()
    left, right = call.operands
    fixed = [id(each) in constant for each in (left, right)]
    if not any(fixed):
        if call.function != EINSUM:
            return "matmul", MatMul()
        try:
            return "einsum", Einsum(call.args[0])
        except PreparationError as error:
            raise PreparationError(
                f"{where(call.module)}: {error}, so it cannot be quantized; write it with "
                "torch.matmul, or leave this model out"
            ) from None
    weight = left if fixed[0] else right
    if all(fixed) or call.function == EINSUM or weight.ndim != 2:
        raise PreparationError(
            f"{where(call.module)} multiplies by a constant of shape {tuple(weight.shape)} with "
            f"{call.function}(), which is no layer; make it an nn.Linear module, or leave this "
            "model out"
        )
    return "product", ProductWithWeight(weight, weight_is_left=fixed[0])


def layer_of(call: FunctionCall) -> tuple[str, nn.Module]:
    """Return a layer of a call's weight and bias as they are, and the stem of its name."""
    if call.function == "linear":
        return "linear", linear(call.weight, call.bias)
    return "conv", _convolution(call, call.bias)


def _owner(module: nn.Module, call: FunctionCall) -> str | None:
    """Return the path of the parameter that a call takes as weight, from its module, if any."""
    for path, value in (*module.named_parameters(), *module.named_buffers()):
        if value is call.weight:
            return path
    return None


def _layer_for(
    module: nn.Module, name: str, path: str, call: FunctionCall, running: set[str]
) -> tuple[str, bool]:
    owner_path, _, attribute = path.rpartition(".")
    owner = module.get_submodule(owner_path)
    full = ".".join(part for part in (name, owner_path) if part)
    is_layer = isinstance(owner, (nn.Linear, *CONVOLUTIONS.values())) and attribute == "weight"
    if is_layer and full in running:
        raise PreparationError(
            f"{where(call.module)} calls {call.function}() with the weight of layer {full!r}, "
            "which also runs as a module; give the call a layer of its own"
        )
    bias = call.bias
    same = is_layer and bias is owner.bias
    if same and all(getattr(owner, key) == value for key, value in _options(call).items()):
        return owner_path, False
    kept = bias if any(bias is value for value in module.parameters()) else None
    if call.function == "linear":
        return _add_child(module, "linear", linear(call.weight, kept)), bias is not kept
    return _add_child(module, "conv", _convolution(call, kept)), bias is not kept


def _convolution(call: FunctionCall, bias: Tensor | None) -> nn.Module:
    weight, options = call.weight, _options(call)
    layer = CONVOLUTIONS[call.function](
        weight.shape[1] * options["groups"],
        weight.shape[0],
        tuple(weight.shape[2:]),
        bias=False,
        device="meta",
        **options,
    )
    layer.weight = frozen(weight)
    if bias is not None:
        layer.bias = frozen(bias)
    return layer


def _options(call: FunctionCall) -> dict[str, Any]:
    """Return what a convolution is called with beside tensors, spelled out; {} for a linear."""
    if call.function == "linear":
        return {}
    names = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
    given = dict(zip(names, call.args, strict=False)) | call.kwargs
    axes = int(call.function[4])
    spelled: dict[str, Any] = {"groups": int(given.get("groups", 1))}
    for key, default in (("stride", 1), ("padding", 0), ("dilation", 1)):
        value = given.get(key, default)
        spelled[key] = (value,) * axes if isinstance(value, int) else value
        if isinstance(value, list | tuple):
            spelled[key] = tuple(value) * (axes if len(value) == 1 else 1)
    return spelled


def _add_child(module: nn.Module, stem: str, child: nn.Module) -> str:
    number = 0
    while hasattr(module, f"{stem}_{number}"):
        number += 1
    module.add_module(f"{stem}_{number}", child.eval())
    return f"{stem}_{number}"


def where(module: str) -> str:
    """Return how error texts name the module at a dotted path."""
    return f"module {module!r}" if module else "the model's own forward"
