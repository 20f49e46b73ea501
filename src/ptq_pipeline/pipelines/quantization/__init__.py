"""Repeated quantization: one trial per calibration set, evaluated under every shift."""

from ptq_pipeline.pipelines.quantization.pipeline import create_pipeline

__all__ = ["create_pipeline"]
