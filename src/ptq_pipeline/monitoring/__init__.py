"""Does the data of today look like the data the model was audited on?"""

from ptq_pipeline.monitoring.drift import (
    DriftResult,
    drift_report,
    effective_size,
    sampling_thresholds,
)
from ptq_pipeline.monitoring.parameters import DriftColumn, DriftParameters

__all__ = [
    "DriftColumn",
    "DriftParameters",
    "DriftResult",
    "drift_report",
    "effective_size",
    "sampling_thresholds",
]
