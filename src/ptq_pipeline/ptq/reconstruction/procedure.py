"""Reconstruction of a whole model: unit by unit, behind the part that is quantized already."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.ptq.parameters import QuantizationParameters, WeightParameters
from ptq_pipeline.ptq.preparation import PreparedModel
from ptq_pipeline.ptq.reconstruction.config import Reconstruction
from ptq_pipeline.ptq.reconstruction.fisher import importance
from ptq_pipeline.ptq.reconstruction.learning import (
    Cache,
    learn_scales,
    learn_weights,
    objective,
)
from ptq_pipeline.ptq.reconstruction.rounding import SoftWeight
from ptq_pipeline.ptq.reconstruction.second_order import has_columns, second_order_weights
from ptq_pipeline.ptq.reconstruction.start import starting_point
from ptq_pipeline.ptq.reconstruction.units import Unit, partition
from ptq_pipeline.ptq.reconstruction.working import WorkingModel, unit_input, unit_output
from ptq_pipeline.ptq.statistics import Batches


def reconstruct(
    prepared: PreparedModel,
    batches: Batches,
    config: Reconstruction,
    seed: int,
    weights: Mapping[str, WeightParameters] | None = None,
) -> QuantizationParameters:
    """Quantize a model by AdaRound, BRECQ or QDrop, as configured.

    Args:
        prepared: the model.
        batches: calibration images.
        config: what to do.
        seed: of mini-batches and random mixing.
        weights: not used; there for the registry.

    Returns:
        Integers and scales; `notes` names the layers that nearest rounding served better.

    Raises:
        InputError: there are fewer images than a batch takes.
    """
    images = torch.cat([*(batches() if callable(batches) else batches)]).to(prepared.device)
    if len(images) < config.batch_size:
        raise InputError(
            f"method {config.name}: a batch takes {config.batch_size} images and the calibration "
            f"set has {len(images)}; use more images or a smaller batch_size"
        )
    units, repeated = partition(prepared, config.unit == "block")
    base = starting_point(prepared, images, units, config)
    rng = np.random.default_rng(seed)
    model = WorkingModel(prepared, base, rng)
    notes = [
        f"layer {name!r} runs more than once: nearest rounding, steps by their range"
        for name in repeated
    ]
    for name in repeated:
        model.fix(name, base.layers[name].weight)
    for unit in units:
        for quantizer in model.quantizers(unit):
            quantizer.enabled = config.activations == "joint"
        notes += _weights_of(model, unit, images, config, rng)
    if config.activations == "after":
        for quantizer in model.all_quantizers():
            quantizer.enabled = True
        for unit in units:
            notes += _scales_of(model, unit, images, config, rng)
    return model.result(base, tuple(notes))


def _weights_of(
    model: WorkingModel,
    unit: Unit,
    images: Tensor,
    config: Reconstruction,
    rng: np.random.Generator,
) -> list[str]:
    """Round a unit's weights; return notes where nearest rounding stays."""
    cache = _cache(model, unit, images)
    notes = _without_closed_form(model, unit) if config.initial == "second_order" else []
    for name in unit.layers:
        model.fix(name, model.initial_weights[name])
    if config.objective == "fisher_diag":
        cache = replace(cache, importance=importance(model, unit, images))
    nearest = objective(model, unit, cache)
    starts = _starts(model, unit, cache, config)
    learned = learn_weights(model, unit, cache, starts, config, rng)
    for name, weight in learned.items():
        model.fix(name, weight)
    reached = objective(model, unit, cache)
    if reached <= nearest:
        return notes
    for quantizer in model.quantizers(unit):
        quantizer.reset()
    for name in unit.layers:
        model.fix(name, model.initial_weights[name])
    return [
        *notes,
        f"unit {unit.name!r}: nearest rounding kept, because its error {nearest:.4g} is below "
        f"the {reached:.4g} of learned rounding",
    ]


def _without_closed_form(model: WorkingModel, unit: Unit) -> list[str]:
    return [
        f"layer {name!r}: no rounding in closed form, which covers Linear and zero-padded 2-d "
        "convolutions; it starts from the float weight"
        for name in unit.layers
        if not has_columns(model.root.get_submodule(name))
    ]


def _starts(
    model: WorkingModel, unit: Unit, cache: Cache, config: Reconstruction
) -> dict[str, SoftWeight]:
    prepared = model.prepared
    targets = {
        name: torch.from_numpy(prepared.weight(name)).to(prepared.device) for name in unit.layers
    }
    if config.initial == "second_order":
        targets = second_order_weights(model, unit, cache, targets)
    return {
        name: SoftWeight(target, model.initial_weights[name]) for name, target in targets.items()
    }


def _scales_of(
    model: WorkingModel,
    unit: Unit,
    images: Tensor,
    config: Reconstruction,
    rng: np.random.Generator,
) -> list[str]:
    """Learn a unit's activation scales; return a note when those of the estimator stay."""
    cache = _cache(model, unit, images)
    before = objective(model, unit, cache)
    learn_scales(model, unit, cache, config, rng)
    reached = objective(model, unit, cache)
    if reached <= before:
        return []
    for quantizer in model.quantizers(unit):
        quantizer.reset()
    return [
        f"unit {unit.name!r}: activation steps of the range estimator kept, because their error "
        f"{before:.4g} is below the {reached:.4g} of learned ones"
    ]


def _cache(model: WorkingModel, unit: Unit, images: Tensor) -> Cache:
    prepared = model.prepared
    float_inputs = unit_input(prepared.module, unit, images)
    targets = unit_output(prepared.module, unit, float_inputs)
    return Cache(model.input_of(unit, images), float_inputs, targets)
