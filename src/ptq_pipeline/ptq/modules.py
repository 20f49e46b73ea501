"""Modules that a prepared model has for what torch computes by functions.

A quantizer needs a named place. A matrix product of two activations gets one by `MatMul`, whose two
`Operand` children are the places; attention is spelled out in such products, so that it computes
what torch's fused kernels compute, within float rounding.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from ptq_pipeline.core.errors import InputError


class PreparationError(InputError):
    """A model that cannot be quantized as it is."""


class Operand(nn.Identity):
    """One operand of a matrix product: the place of its quantizer."""


class MatMul(nn.Module):
    """``left @ right`` of two activations, for example ``(n, heads, L, d) @ (n, heads, d, L)``."""

    def __init__(self) -> None:
        super().__init__()
        self.left = Operand()
        self.right = Operand()

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        """Return the product of the last two axes, batched over the others."""
        left, right = self.left(left), self.right(right)
        # Nobody who watches for products needs to see this one: it has its place.
        with torch._C.DisableTorchFunction():
            return torch.matmul(left, right)


class Einsum(MatMul):
    """An einsum of two activations that is a matrix product, such as ``bhid,bhjd->bhij``.

    Raises:
        PreparationError: the equation is none: each operand has one axis of its own, one is summed
            over, and the others are in both operands and in the result.
    """

    def __init__(self, equation: str) -> None:
        super().__init__()
        plain = equation.replace(" ", "")
        given, _, result = plain.partition("->")
        left, _, right = given.partition(",")
        batch = [axis for axis in left if axis in right and axis in result]
        summed = [axis for axis in left if axis in right and axis not in result]
        own = [axis for axis in left if axis not in right], [a for a in right if a not in left]
        order = [*batch, *own[0], *own[1]]
        counts = [len(summed), len(own[0]), len(own[1])]
        letters = all(each.isalpha() for each in (left, right, result))
        if not letters or counts != [1, 1, 1] or sorted(order) != sorted(result):
            raise PreparationError(f"einsum('{equation}') is no matrix product of two activations")
        self.axes = tuple(left.index(axis) for axis in (*batch, *own[0], *summed))
        self.other_axes = tuple(right.index(axis) for axis in (*batch, *summed, *own[1]))
        self.result_axes = tuple(order.index(axis) for axis in result)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        """Return what the equation says."""
        product = super().forward(left.permute(self.axes), right.permute(self.other_axes))
        return product.permute(self.result_axes)


class ProductWithWeight(nn.Module):
    """``x @ w``, or ``w @ x``, with a weight ``w`` of two axes that no image changes."""

    def __init__(self, weight: Tensor, weight_is_left: bool) -> None:
        super().__init__()
        self.weight_is_left = weight_is_left
        self.linear = linear(weight if weight_is_left else weight.T, None)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        """Return the product; the weight that is given is not looked at."""
        if self.weight_is_left:
            return self.linear(right.transpose(-2, -1)).transpose(-2, -1)
        return self.linear(left)


class Constant(nn.Module):
    """Takes the place of a layer that no image changes: what it returns is known.

    A model may ask the layer's parameters for their device or type, so they stay.
    """

    value: Tensor

    def __init__(self, layer: nn.Module, value: Tensor) -> None:
        super().__init__()
        for name, parameter in layer.named_parameters(recurse=False):
            self.register_buffer(name, parameter.detach())
        self.register_buffer("value", value.detach().clone())

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Return a copy, as what follows may change it in place."""
        return self.value.clone()


class ScaledDotProductAttention(nn.Module):
    """``softmax(q k^T * scale + mask) v`` (Vaswani et al., 2017), as torch's function of that name.

    In evaluation mode only: dropout does nothing.
    """

    def __init__(self) -> None:
        super().__init__()
        self.scores = MatMul()
        self.context = MatMul()

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        """Return ``(..., L, d_v)``; the arguments are those of the torch function."""
        if enable_gqa:
            raise PreparationError("grouped-query attention cannot be quantized; leave it out")
        return self.attend(query, key, value, attn_mask, is_causal, scale)[0]

    def attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None = None,
        is_causal: bool = False,
        scale: float | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return what is attended ``(..., L, d_v)`` and the probabilities ``(..., L, S)``."""
        factor = 1.0 / math.sqrt(query.shape[-1]) if scale is None else scale
        scores = self.scores(query * factor, key.transpose(-2, -1))
        if is_causal:
            allowed = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
            scores = scores.masked_fill(~allowed, -math.inf)
        if mask is not None:
            blocked = mask.dtype == torch.bool
            scores = scores.masked_fill(~mask, -math.inf) if blocked else scores + mask
        probabilities = scores.softmax(-1)
        return self.context(probabilities, value), probabilities


class MultiheadAttention(nn.Module):
    """`torch.nn.MultiheadAttention` out of Linear modules and matrix products.

    Raises:
        PreparationError: the original has ``add_bias_kv`` or ``add_zero_attn``.
    """

    # TransformerEncoderLayer asks for these before it takes its fused path, and then does not.
    in_proj_bias = None
    _qkv_same_embed_dim = False

    def __init__(self, original: nn.MultiheadAttention) -> None:
        super().__init__()
        if original.bias_k is not None or original.add_zero_attn:
            raise PreparationError("attention with add_bias_kv or add_zero_attn")
        self.num_heads = original.num_heads
        self.batch_first = original.batch_first
        if original.in_proj_weight is None:
            weights = [original.q_proj_weight, original.k_proj_weight, original.v_proj_weight]
        else:
            weights = list(original.in_proj_weight.chunk(3))
        in_bias = original.in_proj_bias
        biases = [None] * 3 if in_bias is None else list(in_bias.chunk(3))
        self.q_proj, self.k_proj, self.v_proj = (
            linear(weight, bias) for weight, bias in zip(weights, biases, strict=True)
        )
        self.attention = ScaledDotProductAttention()
        self.out_proj = linear(original.out_proj.weight, original.out_proj.bias)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Return the output and, if asked, the attention weights; arguments as in torch."""
        if query.ndim != 3:
            raise PreparationError("attention without a batch axis; give (n, L, E) tensors")
        # Project first: three projections of one tensor then share its quantizer.
        projected = (self.q_proj(query), self.k_proj(key), self.v_proj(value))
        q, k, v = (self._heads(each) for each in projected)
        mask = _joint_mask(attn_mask, key_padding_mask, self.num_heads)
        # As in torch, `is_causal` is a hint about the mask, not a mask.
        attended, weights = self.attention.attend(q, k, v, mask)
        joined = attended.transpose(1, 2).flatten(2)
        output = self.out_proj(joined if self.batch_first else joined.transpose(0, 1))
        if not need_weights:
            return output, None
        return output, weights.mean(1) if average_attn_weights else weights

    def _heads(self, x: Tensor) -> Tensor:
        x = x if self.batch_first else x.transpose(0, 1)
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


class Unused(nn.Module):
    """Takes the place of a layer that did not run on the example input, and refuses to run."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Raise, because this layer was never prepared."""
        raise PreparationError(
            f"layer {self.name!r} did not run on the example input when the model was prepared, so "
            "it has no quantizer; prepare the model with an input that reaches it"
        )


def linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """Return a Linear module with copies of a weight ``(C_out, C_in)`` and a bias ``(C_out,)``."""
    module = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    module.weight = frozen(weight)
    if bias is not None:
        module.bias = frozen(bias)
    return module.eval()


def frozen(value: Tensor) -> nn.Parameter:
    """Return a contiguous copy as a parameter without gradient."""
    return nn.Parameter(value.detach().clone().contiguous(), requires_grad=False)


def replace_attention(root: nn.Module) -> nn.Module:
    """Replace every `torch.nn.MultiheadAttention` in place and return the root.

    Raises:
        PreparationError: one cannot be replaced; the message names it.
    """
    replaced: dict[nn.Module, nn.Module] = {}
    for path, child in list(root.named_modules()):
        if type(child) is nn.MultiheadAttention:
            try:
                replaced[child] = MultiheadAttention(child).eval()
            except PreparationError as error:
                raise PreparationError(
                    f"module {path!r}: {error} cannot be quantized; leave this model out"
                ) from None
    for old, new in replaced.items():
        replace_module(root, old, new)
    return replaced.get(root, root)


def replace_module(root: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Put ``new`` wherever ``old`` is registered below ``root``."""
    for parent in list(root.modules()):
        for name, child in list(parent.named_children()):
            if child is old:
                setattr(parent, name, new)


def write_nothing_in_place(root: nn.Module) -> None:
    """Let every module of a copied network leave its input as it is."""
    for module in root.modules():
        if getattr(module, "inplace", False) is True:
            module.__dict__["inplace"] = False


def _joint_mask(attn_mask: Tensor | None, padding: Tensor | None, heads: int) -> Tensor | None:
    """Join both masks of `torch.nn.MultiheadAttention`, where True means *blocked*."""
    joint = None
    for mask, axes in ((attn_mask, None), (padding, (1, 2))):
        if mask is None:
            continue
        added = mask
        if mask.dtype == torch.bool:
            added = torch.zeros(mask.shape, device=mask.device).masked_fill(mask, -math.inf)
        if axes is not None:
            added = added[:, None, None, :]
        elif added.ndim == 3:
            added = added.unflatten(0, (-1, heads))
        joint = added if joint is None else joint + added
    return joint
