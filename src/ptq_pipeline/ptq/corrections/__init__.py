"""Corrections around rounding: of the float model before it, of biases and scales after it.

They change float parameters, which travel as `QuantizationParameters.overrides`. Batch norms are
folded when a model is prepared, so that correction is always on.
"""

from ptq_pipeline.ptq.corrections.after import correct_outputs
from ptq_pipeline.ptq.corrections.before import cross_layer_equalization, smooth_quant
from ptq_pipeline.ptq.corrections.procedure import quantize_with_corrections

__all__ = [
    "correct_outputs",
    "cross_layer_equalization",
    "quantize_with_corrections",
    "smooth_quant",
]
