"""Corrections around any method: of the float model before it, of scales and biases after it.

They change float parameters, which travel as `QuantizationParameters.overrides`. Batch norms are
folded when a model is prepared, so that correction is always on.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ptq_pipeline.ptq.corrections.before import cross_layer_equalization, smooth_quant
from ptq_pipeline.ptq.corrections.matching import match_outputs
from ptq_pipeline.ptq.corrections.moments import layers_with_batch_norm, match_moments
from ptq_pipeline.ptq.parameters import QuantizationParameters
from ptq_pipeline.ptq.preparation import PreparedModel
from ptq_pipeline.ptq.spec import MethodConfig

# From a model and all calibration images to parameters.
Quantize = Callable[[PreparedModel, Tensor], QuantizationParameters]


def corrected(
    quantize: Quantize, prepared: PreparedModel, images: Tensor, method: MethodConfig
) -> QuantizationParameters:
    """Quantize with the corrections that the method names, in the order of `CORRECTIONS`.

    What was changed in float is in `overrides`, what could not be corrected in `notes`.
    """
    changed, notes = prepared, tuple[str, ...]()
    if "cross_layer_equalization" in method.corrections:
        changed, notes = cross_layer_equalization(changed, images)
    if "smooth_quant" in method.corrections:
        changed = smooth_quant(changed, images)
    parameters = quantize(changed, images)
    overrides = {**_changes(prepared, changed), **parameters.overrides}
    parameters = replace(parameters, overrides=overrides, notes=(*notes, *parameters.notes))
    return correct_rounded(changed, parameters, images, method.corrections)


def correct_rounded(
    prepared: PreparedModel,
    parameters: QuantizationParameters,
    images: Tensor,
    names: Collection[str],
) -> QuantizationParameters:
    """Apply those of the named corrections that come after rounding, on float32 images."""
    spread: set[str] = set()
    if "batch_norm_reestimation" in names:
        spread = layers_with_batch_norm(prepared, images[:1])
        if not spread:
            note = "batch_norm_reestimation: no batch norm was folded into a layer, nothing to do"
            parameters = replace(parameters, notes=(*parameters.notes, note))
    if spread or "bias_correction" in names:
        parameters = match_moments(prepared, parameters, images, spread)
    if "output_matching" in names:
        parameters = match_outputs(prepared, parameters, images)
    return parameters


def _changes(before: PreparedModel, after: PreparedModel) -> dict[str, np.ndarray]:
    """Return the float parameters that differ, without the weights that became integers."""
    if after is before:
        return {}
    integers = {f"{layer.name}.weight" for layer in before.layers}
    old = dict(before.module.named_parameters())
    return {
        name: value.detach().cpu().numpy()
        for name, value in after.module.named_parameters()
        if name not in integers and not torch.equal(value, old[name])
    }
