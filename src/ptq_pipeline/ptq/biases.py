"""Biases on the grid of the accumulator: int32 codes of step ``s_x * s_w``.

Integer kernels add the bias to sums of products of codes, so it has to be a multiple of the step of
such a product (Jacob et al., CVPR 2018, section 2.4). The rounding is small, but with few bits the
step is coarse, and it moves values over the edges of the next layer's codes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from ptq_pipeline.ptq.calibration import QuantizationParameters
from ptq_pipeline.ptq.preparation import PreparedModel, overridden

INT32 = np.iinfo(np.int32)


@dataclass(frozen=True, eq=False)
class IntegerBias:
    """One layer's bias: ``codes * step``.

    Attributes:
        codes: int32 ``(C_out,)``.
        step: float32 ``(C_out,)``.
    """

    codes: np.ndarray
    step: np.ndarray

    def dequantized(self) -> np.ndarray:
        """Return the bias as float32 ``(C_out,)``."""
        return self.codes.astype(np.float32) * self.step


def integer_biases(
    prepared: PreparedModel, parameters: QuantizationParameters
) -> dict[str, IntegerBias]:
    """Return the biases of all layers that can have them in int32, by layer name.

    A bias stays float if its layer has no quantizer of its own input, or if it does not fit int32.

    Args:
        prepared: the model.
        parameters: its integers and steps; overridden biases count.
    """
    module = overridden(prepared, parameters.overrides).module
    found = {}
    for name, layer in parameters.layers.items():
        bias = module.get_submodule(name).bias
        if not isinstance(bias, Tensor) or layer.activation is None:
            continue
        values = bias.detach().cpu().numpy().astype(np.float64)
        step = np.float32(layer.activation.scale) * layer.weight.scale.astype(np.float32)
        if not bool((step > 0).all()):
            continue
        codes = np.rint(values / step)
        if codes.min() >= INT32.min and codes.max() <= INT32.max:
            found[name] = IntegerBias(codes.astype(np.int32), step)
    return found


def with_integer_biases(
    prepared: PreparedModel, parameters: QuantizationParameters
) -> QuantizationParameters:
    """Return parameters whose overrides hold the biases as integer kernels have them."""
    rounded = {
        f"{name}.bias": bias.dequantized()
        for name, bias in integer_biases(prepared, parameters).items()
    }
    return replace(parameters, overrides={**parameters.overrides, **rounded})
