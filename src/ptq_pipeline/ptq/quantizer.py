"""Affine quantization: parameters from a range, quantize, dequantize, fake-quantize.

Formula (Jacob et al., CVPR 2018; Nagel et al., arXiv 2106.08295, section 2.2)::

    q = clamp(round_half_even(x / s) + z, qmin, qmax)        x_hat = s * (q - z)

The division is done as torch does it, by multiplying with the float32 reciprocal of ``s``, so the
integers equal those of ``torch.fake_quantize_per_{tensor,channel}_affine`` bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ptq_pipeline.core.errors import InputError

MIN_BITS, MAX_BITS = 2, 8
# Below this a scale has no finite float32 reciprocal that is safe to multiply with.
MIN_SCALE = 1e-30
# Where zero lies halfway between two codes, within so much of one, an even grid of values does,
# too: pixels normalised by a mean of 0.5 all would, and each runtime's float rounding would choose
# their code. A scale wider by a 254th takes them off that edge.
BETWEEN, WIDER = 1e-3, 255 / 254


@dataclass(frozen=True)
class IntegerScheme:
    """The integers that represent a range of reals.

    Symmetric: signed, ``z = 0``; 4 bits give ``[-8, 7]``, the scale is ``max|x| / 7``.
    Asymmetric: unsigned; 4 bits give ``[0, 15]``, and ``z`` is the code of zero.

    Raises:
        InputError: ``bits`` is no integer from 2 to 8.
    """

    bits: int
    symmetric: bool

    def __post_init__(self) -> None:
        if isinstance(self.bits, bool) or not isinstance(self.bits, int):
            raise InputError(f"bits must be an integer from 2 to 8, got {self.bits!r}")
        if not MIN_BITS <= self.bits <= MAX_BITS:
            raise InputError(f"bits must be from 2 to 8, got {self.bits}")

    @property
    def qmin(self) -> int:
        """Smallest code."""
        return -(2 ** (self.bits - 1)) if self.symmetric else 0

    @property
    def qmax(self) -> int:
        """Largest code."""
        return 2 ** (self.bits - 1) - 1 if self.symmetric else 2**self.bits - 1

    @property
    def dtype(self) -> torch.dtype:
        """Storage type of the codes: int8 or uint8 for all bit-widths."""
        return torch.int8 if self.symmetric else torch.uint8


@dataclass(frozen=True, eq=False)
class QParams:
    """Scale and zero point of one tensor, or of each channel of its first axis.

    Attributes:
        scale: positive float32, shape ``()`` for per-tensor or ``(C,)`` for per-channel.
        zero_point: int32 of the same shape, within ``[qmin, qmax]``.
        scheme: the integers used.
    """

    scale: Tensor
    zero_point: Tensor
    scheme: IntegerScheme

    @property
    def per_channel(self) -> bool:
        """Whether each index of the tensor's first axis has its own scale."""
        return self.scale.ndim == 1


def choose_qparams(minimum: Tensor, maximum: Tensor, scheme: IntegerScheme) -> QParams:
    """Choose scale and zero point so that the range and zero are representable.

    The bounds have shape ``()`` or ``(C,)``, and so have the parameters; the range is widened to
    hold zero first. A range that holds only zero gets ``s = 1, z = 0``: zero stays exact, and
    callers that care must look at the range themselves.

    Raises:
        InputError: a bound is NaN or infinite, or ``minimum > maximum``.
    """
    low, high = minimum.double(), maximum.double()
    if not bool(torch.isfinite(low).all() and torch.isfinite(high).all()):
        raise InputError("a quantization range has a NaN or infinite bound")
    if bool((low > high).any()):
        raise InputError("a quantization range has its minimum above its maximum")
    low, high = low.clamp(max=0.0), high.clamp(min=0.0)
    if scheme.symmetric:
        exact = torch.maximum(-low, high) / scheme.qmax
    else:
        exact = (high - low) / (scheme.qmax - scheme.qmin)
        position = -low / exact.clamp(min=MIN_SCALE)
        between = (position - torch.floor(position) - 0.5).abs() < BETWEEN
        exact = torch.where(between, exact * WIDER, exact)
    scale = torch.where(exact < MIN_SCALE, 1.0, exact).float()
    if scheme.symmetric:
        zero_point = torch.zeros_like(scale, dtype=torch.int32)
    else:
        codes = scheme.qmin + torch.round(-low / scale.double())
        zero_point = codes.clamp(scheme.qmin, scheme.qmax).to(torch.int32)
    return QParams(scale, zero_point, scheme)


def quantize(values: Tensor, qparams: QParams) -> Tensor:
    """Return the codes of float32 ``values``, int8 (symmetric) or uint8 of the same shape."""
    scale, zero_point = _broadcast(qparams, values)
    codes = torch.round(values * (1.0 / scale)) + zero_point
    return codes.clamp(qparams.scheme.qmin, qparams.scheme.qmax).to(qparams.scheme.dtype)


def dequantize(codes: Tensor, qparams: QParams) -> Tensor:
    """Return ``s * (q - z)`` as float32, same shape as ``codes``."""
    scale, zero_point = _broadcast(qparams, codes)
    return (codes.to(torch.float32) - zero_point) * scale


def fake_quantize(values: Tensor, qparams: QParams) -> Tensor:
    """Return ``dequantize(quantize(values))`` in one pass of torch's own kernel.

    Its gradient is torch's straight-through estimator. The parameters are on the device of
    ``values``.
    """
    scheme = qparams.scheme
    if qparams.per_channel:
        return torch.fake_quantize_per_channel_affine(
            values, qparams.scale, qparams.zero_point, 0, scheme.qmin, scheme.qmax
        )
    return torch.fake_quantize_per_tensor_affine(
        values, float(qparams.scale), int(qparams.zero_point), scheme.qmin, scheme.qmax
    )


def _broadcast(qparams: QParams, like: Tensor) -> tuple[Tensor, Tensor]:
    if not qparams.per_channel:
        return qparams.scale, qparams.zero_point
    return column(qparams.scale, like), column(qparams.zero_point, like)


def column(values: Any, like: Any) -> Any:
    """Let ``(C,)`` values, of torch or numpy, broadcast along the first axis of ``like``."""
    return values.reshape((-1,) + (1,) * (like.ndim - 1))
