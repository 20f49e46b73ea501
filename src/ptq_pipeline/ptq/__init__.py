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
    combine,
    quantize_weights,
)
from ptq_pipeline.ptq.methods import (
    RegisteredMethod,
    find_method,
    method_from_json,
    method_names,
    method_seed,
    quantize_model,
    register,
)
from ptq_pipeline.ptq.modules import PreparationError
from ptq_pipeline.ptq.parameters import (
    ActivationParameters,
    LayerParameters,
    ModelFile,
    QuantizationParameters,
    WeightParameters,
)
from ptq_pipeline.ptq.preparation import PreparedModel, overridden, prepare
from ptq_pipeline.ptq.quantizer import IntegerScheme
from ptq_pipeline.ptq.spec import ENGINE_VERSION, MethodConfig, MethodSpec
from ptq_pipeline.ptq.statistics import Batches, collect_statistics

__all__ = [
    "ENGINE_VERSION",
    "ActivationParameters",
    "Batches",
    "IntegerScheme",
    "LayerParameters",
    "MethodConfig",
    "MethodSpec",
    "ModelFile",
    "PreparationError",
    "PreparedModel",
    "QuantizationParameters",
    "RegisteredMethod",
    "WeightParameters",
    "activations_from",
    "as_tensor_batches",
    "calibrate",
    "collect_statistics",
    "combine",
    "find_method",
    "method_from_json",
    "method_names",
    "method_seed",
    "overridden",
    "prepare",
    "quantize_model",
    "quantize_weights",
    "register",
]
