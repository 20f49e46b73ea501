"""Reconstruction of a whole model: unit by unit, behind the part that is quantized already."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.ptq.calibration import activations_from, calibrate
from ptq_pipeline.ptq.hooks import Visit, visit_outputs
from ptq_pipeline.ptq.parameters import QuantizationParameters, WeightParameters
from ptq_pipeline.ptq.preparation import PreparedModel
from ptq_pipeline.ptq.reconstruction.config import Reconstruction
from ptq_pipeline.ptq.reconstruction.learned import SoftWeight
from ptq_pipeline.ptq.reconstruction.learning import UnitLearning, WorkingModel, importance_of
from ptq_pipeline.ptq.reconstruction.prefix import Prefix, stages_of
from ptq_pipeline.ptq.reconstruction.second_order import has_columns, second_order_weights
from ptq_pipeline.ptq.reconstruction.units import IMAGES_AT_A_TIME, Unit, partition
from ptq_pipeline.ptq.spec import MethodSpec
from ptq_pipeline.ptq.statistics import Batches, statistics_of


def reconstruct(
    prepared: PreparedModel,
    batches: Batches,
    config: Reconstruction,
    seed: int,
    weights: Mapping[str, WeightParameters] | None = None,
) -> QuantizationParameters:
    """Quantize a model by AdaRound, BRECQ or QDrop, as configured, with mini-batches by the seed.

    Takes the arguments of a `RegisteredMethod`; weights at hand are of no use. `notes` names the
    layers that nearest rounding served better.

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
        f"layer {name!r} runs more than once: nearest rounding, scales by their range"
        for name in repeated
    ]
    for name in repeated:
        model.fix(name)
    stages = stages_of(prepared, images)
    float_model = Prefix(prepared.module, images, stages)
    before = (float_model, Prefix(model.root, images, stages))
    for unit in units:
        for quantizer in model.quantizers(unit):
            quantizer.enabled = config.activations == "joint"
        notes += _weights_of(UnitLearning.of(model, unit, before, config, rng), images)

    if config.activations == "after":
        for quantizer in model.all_quantizers():
            quantizer.enabled = True
        # Everything is quantized from here on: what comes before the units is not what it was.
        before = (float_model, Prefix(model.root, images, stages))
        for unit in units:
            notes += _scales_of(UnitLearning.of(model, unit, before, config, rng))
    return model.result(tuple(notes))


def nearest_of(prepared: PreparedModel, config: Reconstruction) -> MethodSpec:
    """Return the method ``nearest`` of the same bits, schemes and ranges."""
    return MethodSpec(
        weight_bits=config.weight_bits,
        activation_bits=config.activation_bits,
        weight_range=config.weight_range,
        activation_range=config.activation_range,
        weight_symmetric=config.weight_symmetric,
        layer_weight_bits=config.layer_weight_bits,
        layer_activation_bits=config.layer_activation_bits,
        first_last_8_bit=config.first_last_8_bit,
        first_input_8_bit=config.first_input_8_bit,
    )


def starting_point(
    prepared: PreparedModel, images: Tensor, units: list[Unit], config: Reconstruction
) -> QuantizationParameters:
    """Quantize every layer by nearest rounding, with quantizers where the configuration says."""
    nearest = nearest_of(prepared, config)
    parameters = calibrate(prepared, images.split(IMAGES_AT_A_TIME), nearest)
    if config.placement == "layer_input":
        return parameters
    # BRECQ and QDrop place quantizers at the outputs of units.
    last_block = max((i for i, unit in enumerate(units) if unit.is_block), default=-1)
    bits = {
        unit.output: config.activation_bits for unit in units[:-1] if unit.is_block or unit.readers
    }
    if config.first_last_8_bit and last_block >= 0:
        bits[units[last_block].output] = 8

    def run(observe: Visit) -> None:
        for part in images.split(IMAGES_AT_A_TIME):
            visit_outputs(prepared.module, bits, part, observe)

    statistics = statistics_of(run, config.activation_range.needs_histogram)
    made = activations_from(statistics, replace(nearest, layer_activation_bits=bits))
    made_by = {name: unit.output for unit in units[:-1] for name in unit.readers}
    layers = {
        name: replace(layer, activation=None, reads=made_by[name]) if name in made_by else layer
        for name, layer in parameters.layers.items()
    }
    return replace(parameters, layers=layers, outputs={**parameters.outputs, **made})


def _weights_of(learning: UnitLearning, images: Tensor) -> list[str]:
    """Round a unit's weights; return notes where nearest rounding stays."""
    model, unit, config = learning.model, learning.unit, learning.config
    notes = []
    if config.initial == "second_order":
        notes = [
            f"layer {name!r}: no rounding in closed form, which covers Linear and zero-padded 2-d "
            "convolutions; it starts from the float weight"
            for name in unit.layers
            if not has_columns(model.root.get_submodule(name))
        ]
    for name in unit.layers:
        model.fix(name)
    if config.objective == "fisher_diag":
        learning.importance = importance_of(model, unit, images)
    nearest = learning.objective()
    for name, weight in learning.learn_weights(_starts(learning)).items():
        model.fix(name, weight)
    reached = learning.objective()
    if reached <= nearest:
        return notes
    for quantizer in model.quantizers(unit):
        quantizer.reset()
    for name in unit.layers:
        model.fix(name)
    return [
        *notes,
        f"unit {unit.name!r}: nearest rounding kept, because its error {nearest:.4g} is below "
        f"the {reached:.4g} of learned rounding",
    ]


def _starts(learning: UnitLearning) -> dict[str, SoftWeight]:
    prepared, base = learning.model.prepared, learning.model.base
    targets = {
        name: torch.from_numpy(prepared.weight(name)).to(prepared.device)
        for name in learning.unit.layers
    }
    if learning.config.initial == "second_order":
        targets = second_order_weights(learning, targets)
    return {name: SoftWeight(target, base.layers[name].weight) for name, target in targets.items()}


def _scales_of(learning: UnitLearning) -> list[str]:
    """Learn a unit's activation scales; return a note when those of the estimator stay."""
    before = learning.objective()
    learning.learn_scales()
    reached = learning.objective()
    if reached <= before:
        return []
    for quantizer in learning.model.quantizers(learning.unit):
        quantizer.reset()
    return [
        f"unit {learning.unit.name!r}: activation scales of the range estimator kept, because "
        f"their error {before:.4g} is below the {reached:.4g} of learned ones"
    ]
