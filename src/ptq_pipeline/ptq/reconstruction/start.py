"""What reconstruction starts from: ranges of the float model and nearest rounding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from ptq_pipeline.ptq.calibration import activations_from, calibrate
from ptq_pipeline.ptq.hooks import Visit, visit_outputs
from ptq_pipeline.ptq.parameters import ActivationParameters, QuantizationParameters
from ptq_pipeline.ptq.preparation import PreparedModel
from ptq_pipeline.ptq.reconstruction.config import Reconstruction
from ptq_pipeline.ptq.reconstruction.units import Unit
from ptq_pipeline.ptq.spec import MethodSpec
from ptq_pipeline.ptq.statistics import statistics_of


def starting_point(
    prepared: PreparedModel, images: Tensor, units: list[Unit], config: Reconstruction
) -> QuantizationParameters:
    """Quantize every layer by nearest rounding, with quantizers where the configuration says."""
    method = nearest_of(prepared, config)
    parameters = calibrate(prepared, images.split(64), method)
    if config.placement == "layer_input":
        return parameters
    return _at_outputs(prepared, images, units, config, parameters)


def nearest_of(prepared: PreparedModel, config: Reconstruction) -> MethodSpec:
    """Return the method ``nearest`` of the same bits, schemes and ranges."""
    ends: dict[str, int] = {}
    if config.first_last_8_bit:
        ends = {prepared.layers[0].name: 8, prepared.layers[-1].name: 8}
    return MethodSpec(
        weight_bits=config.weight_bits,
        activation_bits=config.activation_bits,
        weight_range=config.weight_range,
        activation_range=config.activation_range,
        weight_symmetric=config.weight_symmetric,
        layer_weight_bits=ends,
        layer_activation_bits=ends,
    )


def _at_outputs(
    prepared: PreparedModel,
    images: Tensor,
    units: list[Unit],
    config: Reconstruction,
    parameters: QuantizationParameters,
) -> QuantizationParameters:
    """Move quantizers to the outputs of units, as BRECQ and QDrop place them."""
    last_block = max((i for i, unit in enumerate(units) if unit.is_block), default=-1)
    wanted = {
        unit.output: config.activation_bits for unit in units[:-1] if unit.is_block or unit.readers
    }
    if config.first_last_8_bit and last_block >= 0:
        wanted[units[last_block].output] = 8
    made_by = {name: unit.output for unit in units[:-1] for name in unit.readers}
    layers = {
        name: replace(layer, activation=None, reads=made_by[name]) if name in made_by else layer
        for name, layer in parameters.layers.items()
    }
    outputs = dict(parameters.outputs) | _output_scales(prepared, images, wanted, config)
    return replace(parameters, layers=layers, outputs=outputs)


def _output_scales(
    prepared: PreparedModel, images: Tensor, bits: Mapping[str, int], config: Reconstruction
) -> dict[str, ActivationParameters]:
    method = MethodSpec(
        activation_bits=config.activation_bits,
        activation_range=config.activation_range,
        layer_activation_bits=dict(bits),
    )

    def run(observe: Visit) -> None:
        for part in images.split(64):
            visit_outputs(prepared.module, bits, part, observe)

    needed = method.activation_range.needs_histogram
    return activations_from(statistics_of(run, needed), method)
