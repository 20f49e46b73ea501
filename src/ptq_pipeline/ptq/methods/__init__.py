"""Methods by name: the registry, the configurations, and the methods of this package."""

import ptq_pipeline.ptq.methods.nearest  # (registers, the simplest first)
import ptq_pipeline.ptq.methods.reconstruction  # noqa: F401
from ptq_pipeline.ptq.methods.config import Method, MethodConfig
from ptq_pipeline.ptq.methods.registry import (
    RegisteredMethod,
    find_method,
    method_from_json,
    method_names,
    method_seed,
    quantize_model,
    register,
)

__all__ = [
    "Method",
    "MethodConfig",
    "RegisteredMethod",
    "find_method",
    "method_from_json",
    "method_names",
    "method_seed",
    "quantize_model",
    "register",
]
