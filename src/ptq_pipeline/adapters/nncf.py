"""NNCF's post-training quantization (``nncf.quantize``) of the OpenVINO model as a method.

All calibration images are used: NNCF by itself takes the first 300 items. Its defaults otherwise,
with fast bias correction.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar, Literal

from ptq_pipeline.adapters import AdapterConfig, arrays
from ptq_pipeline.ptq import (
    Batches,
    PreparedModel,
    QuantizationParameters,
    RegisteredMethod,
    WeightParameters,
)

# Takes the telemetry package away, which NNCF uses too.
from ptq_pipeline.runtimes.openvino import OpenvinoRuntime, save
from ptq_pipeline.runtimes.openvino_graph import convert


@dataclass(frozen=True, kw_only=True)
class Nncf(AdapterConfig):
    """Options of ``nncf.quantize``.

    Attributes:
        preset: ``performance`` quantizes activations symmetrically, ``mixed`` asymmetrically.
        model_type: ``transformer`` for models with attention; ``none`` for others.
        fast_bias_correction: the fast kind of bias correction; the slow one if false.
    """

    package: ClassVar[str] = "nncf"
    file_format: ClassVar[str] = "openvino"

    preset: Literal["performance", "mixed"] = "performance"
    model_type: Literal["none", "transformer"] = "none"
    fast_bias_correction: bool = True


def run(
    prepared: PreparedModel,
    batches: Batches,
    method: Nncf,
    seed: int,
    weights: Mapping[str, WeightParameters] | None = None,
) -> QuantizationParameters:
    """Quantize with NNCF; nothing in it is random."""
    import nncf

    # Not by `nncf.set_log_level`, which also changes handlers that others gave to that logger.
    logging.getLogger("nncf").setLevel(logging.ERROR)
    data = list(arrays(batches))
    transformer = method.model_type == "transformer"
    quantized = nncf.quantize(
        convert(prepared).clone(),
        nncf.Dataset(data),
        preset=nncf.QuantizationPreset(method.preset),
        subset_size=len(data),
        fast_bias_correction=method.fast_bias_correction,
        model_type=nncf.ModelType.TRANSFORMER if transformer else None,
    )
    predictor = OpenvinoRuntime().opened(quantized)
    with TemporaryDirectory() as folder:
        parts = save(predictor, Path(folder) / "model.xml")
        return method.result({part.name: part.read_bytes() for part in parts})


METHOD = RegisteredMethod(
    name="nncf",
    paper="NNCF, Kozlov et al., arXiv 2002.08679",
    summary="the post-training quantization of NNCF, executed by OpenVINO from its own file",
    config=Nncf,
    run=run,
    weight_bits=(8,),
    activation_bits=(8,),
)
