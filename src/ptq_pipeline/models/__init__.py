"""Float models: the reference architectures, how a model is described, how references are trained.

What needs torch is imported when it is first asked for, so that naming a type costs nothing.
"""

import importlib
from typing import TYPE_CHECKING

from ptq_pipeline.models.float_model import FloatModel, load_float_model, run_in_batches
from ptq_pipeline.models.preprocessing import Preprocessing

if TYPE_CHECKING:
    from ptq_pipeline.models.mobilenet import MobileNetV2Small, mobilenet_v2_small
    from ptq_pipeline.models.resnet import ResNet20, resnet20

_ARCHITECTURES = {
    "MobileNetV2Small": "mobilenet",
    "mobilenet_v2_small": "mobilenet",
    "ResNet20": "resnet",
    "resnet20": "resnet",
}


def __getattr__(name: str) -> object:
    if name in _ARCHITECTURES:
        return getattr(importlib.import_module(f"{__name__}.{_ARCHITECTURES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "FloatModel",
    "MobileNetV2Small",
    "Preprocessing",
    "ResNet20",
    "load_float_model",
    "mobilenet_v2_small",
    "resnet20",
    "run_in_batches",
]
