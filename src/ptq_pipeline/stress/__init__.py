"""Distribution shifts of the evaluation and perturbations of calibration images."""

from ptq_pipeline.stress.base import Shift
from ptq_pipeline.stress.shifts import SHIFTS, apply_shift, build_shift, known_shifts

__all__ = ["SHIFTS", "Shift", "apply_shift", "build_shift", "known_shifts"]
