"""A quantized model as torch executes it: fake quantization with the integers that ship."""

from __future__ import annotations

import copy

import torch
from torch import nn

from ptq_pipeline.ptq.biases import integer_form
from ptq_pipeline.ptq.parameters import QuantizationParameters
from ptq_pipeline.ptq.places import insert_quantizers
from ptq_pipeline.ptq.preparation import PreparedModel, overridden


def executed(
    prepared: PreparedModel, parameters: QuantizationParameters, device: torch.device | None = None
) -> nn.Module:
    """Return a copy of the prepared module with overrides, int32 biases and quantizers in place.

    It is on the prepared model's device, or on the one given.
    """
    prepared = overridden(prepared, parameters.overrides)
    parameters, biases = integer_form(prepared, parameters)
    module = copy.deepcopy(prepared.module).to(device or prepared.device)
    for name, bias in biases.items():
        layer = module.get_submodule(name)
        rounded = torch.from_numpy(bias.dequantized()).to(device or prepared.device)
        layer.bias = nn.Parameter(rounded, requires_grad=False)
    insert_quantizers(module, parameters)
    return module
