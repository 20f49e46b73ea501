"""The quantization engine: from a trained float model to integers, without training.

Usable as a library; knows nothing of Kedro. The usual way through it::

    prepared = prepare(module, example_input)
    method = method_from_json({"weight_bits": 8, "activation_bits": 4})   # or {"name": "qdrop", ..}
    parameters = quantize_model(prepared, batches, method, seed=0)
"""

from ptq_pipeline.ptq.calibration import (
    activations_from,
    as_tensor_batches,
    calibrate,
    calibrate_activations,
    combine,
    quantize_weights,
)
from ptq_pipeline.ptq.methods import (
    Method,
    MethodConfig,
    RegisteredMethod,
    find_method,
    method_from_json,
    method_names,
    method_seed,
    quantize_model,
    register,
)
from ptq_pipeline.ptq.parameters import (
    ActivationParameters,
    LayerParameters,
    ModelFile,
    QuantizationParameters,
    WeightParameters,
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
from ptq_pipeline.ptq.ranges import (
    Cosine,
    Entropy,
    MinMax,
    MovingAverageMinMax,
    Mse,
    Percentile,
    RangeEstimator,
)
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
    "Cosine",
    "Entropy",
    "HistogramGrid",
    "HistogramStatistics",
    "InputStatistics",
    "IntegerScheme",
    "Layer",
    "LayerParameters",
    "Method",
    "MethodConfig",
    "MethodSpec",
    "ModelFile",
    "MinMax",
    "MovingAverageMinMax",
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
    "RegisteredMethod",
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
    "find_method",
    "method_from_json",
    "method_names",
    "method_seed",
    "overridden",
    "prepare",
    "quantize",
    "quantize_model",
    "quantize_weights",
    "register",
]
