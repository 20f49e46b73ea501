"""Does the data of today look like the data the model was audited on?"""

from ptq_pipeline.monitoring.drift import DriftResult, drift_report
from ptq_pipeline.monitoring.thresholds import (
    DriftColumn,
    DriftSettings,
    effective_size,
    sampling_thresholds,
)
from ptq_pipeline.statistics.distances import METHODS, distance

__all__ = [
    "METHODS",
    "DriftColumn",
    "DriftResult",
    "DriftSettings",
    "distance",
    "drift_report",
    "effective_size",
    "sampling_thresholds",
]
