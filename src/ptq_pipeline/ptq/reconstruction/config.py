"""Configuration of AdaRound, BRECQ, QDrop and their presets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.ptq.ranges import Mse, RangeEstimator
from ptq_pipeline.ptq.spec import MethodConfig


@dataclass(frozen=True, kw_only=True)
class Reconstruction(MethodConfig):
    """Learned rounding, and learned activation scales, against the float model's outputs.

    Attributes:
        weight_range: range estimator of the weights.
        activation_range: range estimator of the activations, where their scales start.
        weight_symmetric: signed weights with zero point 0, or unsigned ones.
        unit: ``layer``, or ``block`` (see `units`).
        placement: activations are quantized at each layer's input (``layer_input``), or once where
            a block returns them, for the next layer and the residual branch (``block_output``).
        initial: ``nearest``, or ``second_order``: rounding starts from codes in closed form.
        iterations: steps of Adam per unit; 0 rounds as `initial` says.
        batch_size: images per step.
        rounding_lr: learning rate of the rounding variables.
        regularization: weight of the rounding regulariser.
        warmup: share of the steps without it.
        beta_start: its exponent at first.
        beta_end: its exponent at last.
        annealing: how the exponent falls.
        objective: ``mse`` of the unit's output, or ``fisher_diag``: weighted by the squared
            gradient of the loss with respect to that output.
        activations: ``range`` keeps the estimator's scales; ``after`` learns scales when all
            weights are done (BRECQ); ``joint`` learns them with the weights (QDrop).
        activation_iterations: steps of Adam per unit for ``after``.
        step_lr: learning rate of the activation scales, falling to 0 by cosine.
        keep_quantized_probability: probability that an activation of the quantized model is kept
            quantized in a step of ``joint``; 1 switches QDrop's dropping off.
        layer_weight_bits: bits of single layers' weights, by layer name.
        layer_activation_bits: bits of single layers' inputs, where they have their own quantizer.
        first_last_8_bit: weight and input of first and last layer have 8 bits.
        first_input_8_bit: the input of the first layer has 8 bits.

    Raises:
        InputError: an option is out of range.
    """

    later: ClassVar[tuple[str, ...]] = (
        *("corrections", "first_input_8_bit"),
        *("layer_weight_bits", "layer_activation_bits"),
    )

    weight_range: RangeEstimator = field(default_factory=Mse)
    activation_range: RangeEstimator = field(default_factory=Mse)
    weight_symmetric: bool = False
    unit: Literal["layer", "block"] = "block"
    placement: Literal["layer_input", "block_output"] = "block_output"
    initial: Literal["nearest", "second_order"] = "nearest"
    iterations: int = 20000
    batch_size: int = 32
    rounding_lr: float = 1e-3
    regularization: float = 0.01
    warmup: float = 0.2
    beta_start: float = 20.0
    beta_end: float = 2.0
    annealing: Literal["linear", "cosine"] = "linear"
    objective: Literal["mse", "fisher_diag"] = "mse"
    activations: Literal["range", "after", "joint"] = "joint"
    activation_iterations: int = 5000
    step_lr: float = 4e-5
    keep_quantized_probability: float = 0.5
    layer_weight_bits: Mapping[str, int] = field(default_factory=dict)
    layer_activation_bits: Mapping[str, int] = field(default_factory=dict)
    first_last_8_bit: bool = True
    first_input_8_bit: bool = False

    @property
    def min_images(self) -> int:  # type: ignore[override]
        """One batch."""
        return self.batch_size

    @property
    def uses_seed(self) -> bool:
        """Where something is learned: mini-batches are random."""
        return self.iterations > 0 or self.activations != "range"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_layer_bits("layer_weight_bits", "layer_activation_bits")
        self._require("must be at least 0", lambda value: value >= 0, "iterations")
        self._require(
            "must be at least 1", lambda value: value >= 1, "activation_iterations", "batch_size"
        )
        rates = ("rounding_lr", "step_lr", "beta_start", "beta_end")
        self._require("must be positive", lambda value: value > 0.0, *rates)
        shares = ("warmup", "keep_quantized_probability")
        self._require("must be from 0 to 1", lambda value: 0.0 <= value <= 1.0, *shares)
        self._require("must not be negative", lambda value: value >= 0.0, "regularization")

    def _require(self, what: str, holds: Callable[[float], bool], *keys: str) -> None:
        for key in keys:
            if not holds(getattr(self, key)):
                raise InputError(f"method {self.name}: {key} {what}, got {getattr(self, key)}")
