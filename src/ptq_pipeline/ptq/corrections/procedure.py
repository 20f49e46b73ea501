"""Nearest rounding with corrections before and after it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ptq_pipeline.ptq.calibration import calibrate
from ptq_pipeline.ptq.corrections.after import correct_outputs, layers_with_batch_norm
from ptq_pipeline.ptq.corrections.before import (
    cross_layer_equalization,
    not_equalized,
    smooth_quant,
)
from ptq_pipeline.ptq.parameters import QuantizationParameters
from ptq_pipeline.ptq.preparation import PreparedModel
from ptq_pipeline.ptq.spec import MethodSpec


def quantize_with_corrections(
    prepared: PreparedModel, images: Tensor, method: MethodSpec
) -> QuantizationParameters:
    """Quantize with the corrections that the method names, in the order of `CORRECTIONS`.

    Returns:
        Integers and scales; what was changed in float stands in `overrides`, what could not be
        corrected in `notes`.
    """
    changed, notes = prepared, tuple[str, ...]()
    if "cross_layer_equalization" in method.corrections:
        notes = not_equalized(changed, images)
        changed = cross_layer_equalization(changed, images)
    if "smooth_quant" in method.corrections:
        changed = smooth_quant(changed, images)
    parameters = calibrate(changed, images.split(32), method)
    parameters = replace(parameters, overrides=_changes(prepared, changed), notes=notes)
    spread: set[str] = set()
    if "batch_norm_reestimation" in method.corrections:
        spread = layers_with_batch_norm(changed, images[:1])
    if spread or "bias_correction" in method.corrections:
        parameters = correct_outputs(changed, parameters, images, spread=spread)
    return parameters


def _changes(before: PreparedModel, after: PreparedModel) -> dict[str, np.ndarray]:
    """Return the float parameters that differ, without the weights that became integers."""
    integers = {f"{layer.name}.weight" for layer in before.layers}
    old = dict(before.module.named_parameters())
    return {
        name: value.detach().cpu().numpy()
        for name, value in after.module.named_parameters()
        if name not in integers and not torch.equal(value, old[name])
    }
