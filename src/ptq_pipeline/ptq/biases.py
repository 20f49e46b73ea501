"""Biases on the grid of the accumulator: int32 codes of scale ``s_x * s_w``.

Integer kernels add the bias to sums of products of codes, so it has to be a multiple of the scale
of such a product (Jacob et al., CVPR 2018, section 2.4). With few bits that scale is coarse, and
the rounding moves values over the edges of the next layer's codes. So it is part of what is judged:
every runtime and every exported file takes the biases from here.

Two kinds of channels have weights whose scale is no measure for their bias. Their scale is chosen
by the bias, as it is free or nearly so:

- *weights of zero*: any scale holds them. The bias becomes a code of 2**24, as exact as float32.
- *weights so small that the bias would not fit*: the scale is widened until the code is 2**30. The
  weights round to fewer codes. All products of the channel together then are below a thousandth of
  its bias, and nothing saturates.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from ptq_pipeline.ptq.parameters import QuantizationParameters, WeightParameters
from ptq_pipeline.ptq.preparation import PreparedModel
from ptq_pipeline.ptq.quantizer import column

# Half of int32: the other half is for the products, 33,000 of them at 8 bits.
LARGEST_CODE = 2**30
# Float32 holds integers up to here.
EXACT_CODE = 2**24
# A product of two scales below this is no normal float32 number.
LEAST_SCALE = 1e-30
# Keeps the largest code below its limit when the scale is rounded to float32.
MARGIN = 1.0 + 1e-6


@dataclass(frozen=True, eq=False)
class IntegerBias:
    """One layer's bias ``codes * scale``, int32 and float32 ``(C_out,)``, and the real one."""

    codes: np.ndarray
    scale: np.ndarray
    real: np.ndarray

    def dequantized(self) -> np.ndarray:
        """Return the bias as float32 ``(C_out,)``."""
        return self.codes.astype(np.float32) * self.scale


def integer_form(
    prepared: PreparedModel, parameters: QuantizationParameters
) -> tuple[QuantizationParameters, dict[str, IntegerBias]]:
    """Return what runtimes execute: parameters whose scales hold the biases, and the biases.

    Weight scales are wider where a bias, or an overridden one, would not fit. A second call changes
    nothing. A layer without bias, or one whose input is not quantized, has no entry: there is no
    grid for its bias.
    """
    layers = dict(parameters.layers)
    biases: dict[str, IntegerBias] = {}
    for name, layer in parameters.layers.items():
        bias, source = _bias(prepared, parameters, name), parameters.input_of(name)
        if bias is None or source is None:
            continue
        weight = _holding(layer.weight, bias, source.scale)
        scale = np.float32(source.scale) * weight.scale.astype(np.float32)
        codes = np.rint(bias.astype(np.float64) / scale).astype(np.int32)
        biases[name] = IntegerBias(codes, scale, bias)
        layers[name] = replace(layer, weight=weight)
    return replace(parameters, layers=layers), biases


def _bias(
    prepared: PreparedModel, parameters: QuantizationParameters, name: str
) -> np.ndarray | None:
    if f"{name}.bias" in parameters.overrides:
        return parameters.overrides[f"{name}.bias"].astype(np.float32)
    bias = prepared.layer_module(name).bias
    return bias.detach().cpu().numpy() if isinstance(bias, Tensor) else None


def _holding(weight: WeightParameters, bias: np.ndarray, input_scale: float) -> WeightParameters:
    """Return a weight whose scales let int32 hold the bias."""
    zero = column(weight.zero_point, weight.codes)
    size = np.abs(bias.astype(np.float64))

    def scale_for(code: int) -> np.ndarray:
        found = np.maximum(size / code * MARGIN, LEAST_SCALE) / input_scale
        return np.asarray(found.astype(np.float32))

    scale = np.maximum(weight.scale, scale_for(LARGEST_CODE))
    codes = weight.codes
    if not np.array_equal(scale, weight.scale):
        rounded = np.rint(weight.dequantized() / column(scale, codes)) + zero
        rounded = rounded.clip(weight.scheme.qmin, weight.scheme.qmax).astype(codes.dtype)
        codes = np.where(column(scale > weight.scale, codes), rounded, codes)
    zeros = (codes == zero).all(axis=tuple(range(1, codes.ndim))) & (size > 0)
    scale = np.where(zeros, scale_for(EXACT_CODE), scale)
    if np.array_equal(scale, weight.scale):
        return weight
    return replace(weight, codes=codes, scale=scale)
