"""Nearest rounding with ranges by an estimator, and corrections around it."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from ptq_pipeline.ptq.calibration import calibrate
from ptq_pipeline.ptq.corrections import quantize_with_corrections
from ptq_pipeline.ptq.methods.registry import RegisteredMethod, register
from ptq_pipeline.ptq.parameters import QuantizationParameters, WeightParameters
from ptq_pipeline.ptq.preparation import PreparedModel
from ptq_pipeline.ptq.spec import MethodSpec
from ptq_pipeline.ptq.statistics import Batches


def quantize_nearest(
    prepared: PreparedModel,
    batches: Batches,
    method: MethodSpec,
    seed: int,
    weights: Mapping[str, WeightParameters] | None = None,
) -> QuantizationParameters:
    """Quantize with nearest rounding; nothing in it is random."""
    if not method.corrections:
        return calibrate(prepared, batches, method, weights)
    images = torch.cat([*(batches() if callable(batches) else batches)]).to(prepared.device)
    return quantize_with_corrections(prepared, images, method)


register(
    RegisteredMethod(
        name="nearest",
        paper="Jacob et al., CVPR 2018 (arXiv 1712.05877)",
        summary="ranges by an estimator, weights to the nearest code, optional corrections",
        config=MethodSpec,
        run=quantize_nearest,
    )
)
