"""Distribution shifts of the evaluation and perturbations of calibration images."""

from ptq_pipeline.stress.shifts import SHIFTS, Shift, build_shift

__all__ = ["SHIFTS", "Shift", "build_shift"]
