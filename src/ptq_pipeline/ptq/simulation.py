"""Quantized models in float arithmetic: rounded weights, and a quantizer at every place."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ptq_pipeline.ptq.hooks import Change, change_input, change_output
from ptq_pipeline.ptq.parameters import ActivationParameters, QuantizationParameters
from ptq_pipeline.ptq.quantizer import QParams, fake_quantize


def insert_quantizers(module: nn.Module, parameters: QuantizationParameters) -> None:
    """Give every layer its rounded weight, and every quantizer its place in front or behind.

    Args:
        module: a copy of a prepared module, on any device; changed.
        parameters: of its layers and outputs.
    """
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
