"""Reconstruction against the float model: AdaRound, BRECQ, QDrop."""

from ptq_pipeline.ptq.reconstruction.config import Reconstruction
from ptq_pipeline.ptq.reconstruction.procedure import reconstruct

__all__ = ["Reconstruction", "reconstruct"]
