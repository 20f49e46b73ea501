"""Float models: the reference architectures, how a model is described, how references are trained.

What needs torch is imported when it is first asked for, so that naming a type costs nothing.
"""

import importlib

from ptq_pipeline.models.float_model import FloatModel, Preprocessing

_HOMES = {
    "load_float_model": "loading",
    "mobilenet_v2_small": "architectures",
    "resnet20": "architectures",
    "run_in_batches": "inference",
}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = ["FloatModel", "Preprocessing"]
