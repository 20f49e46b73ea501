"""The quantization engine: from a trained float model to integers, without training.

Usable as a library; knows nothing of Kedro. The usual way through it::

    prepared = prepare(module, example_input)
    method = MethodSpec(weight_bits=8, activation_bits=4)
    weights = quantize_weights(prepared, method)            # once for all draws
    parameters = calibrate(prepared, batches, method, weights)
"""

from ptq_pipeline.ptq.calibration import (
    ActivationParameters,
    LayerParameters,
    QuantizationParameters,
    WeightParameters,
    activations_from,
    as_tensor_batches,
    calibrate,
    calibrate_activations,
    combine,
    quantize_weights,
)
from ptq_pipeline.ptq.preparation import (
    Layer,
    PreparationError,
    PreparedModel,
    overridden,
    prepare,
)
from ptq_pipeline.ptq.quantizer import (
    IntegerScheme,
    QParams,
    choose_qparams,
    dequantize,
    fake_quantize,
    quantize,
)
from ptq_pipeline.ptq.ranges import MinMax, Mse, Percentile, RangeEstimator
from ptq_pipeline.ptq.spec import (
    ENGINE_VERSION,
    MethodSpec,
    NearestRounding,
    PerChannel,
    PerTensor,
)
from ptq_pipeline.ptq.statistics import (
    HistogramGrid,
    HistogramStatistics,
    InputStatistics,
    RangeStatistics,
    collect_histograms,
    collect_ranges,
    collect_statistics,
)

__all__ = [
    "ENGINE_VERSION",
    "ActivationParameters",
    "HistogramGrid",
    "HistogramStatistics",
    "InputStatistics",
    "IntegerScheme",
    "Layer",
    "LayerParameters",
    "MethodSpec",
    "MinMax",
    "Mse",
    "NearestRounding",
    "PerChannel",
    "PerTensor",
    "Percentile",
    "PreparationError",
    "PreparedModel",
    "QParams",
    "QuantizationParameters",
    "RangeEstimator",
    "RangeStatistics",
    "WeightParameters",
    "activations_from",
    "as_tensor_batches",
    "calibrate",
    "calibrate_activations",
    "choose_qparams",
    "collect_histograms",
    "collect_ranges",
    "collect_statistics",
    "combine",
    "dequantize",
    "fake_quantize",
    "overridden",
    "prepare",
    "quantize",
    "quantize_weights",
]
