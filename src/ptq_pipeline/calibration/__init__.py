"""Calibration sets: how they are drawn, what they are, and whether they resemble production."""

from ptq_pipeline.calibration.cache import ValidationCache
from ptq_pipeline.calibration.draws import (
    COMPARISON,
    EVIDENCE,
    DrawnSets,
    DrawPlan,
    draw_valid_sets,
)
from ptq_pipeline.calibration.pool import Pool
from ptq_pipeline.calibration.registration import (
    STRATEGIES,
    Drawing,
    StrategyOptions,
    register_strategy,
)
from ptq_pipeline.calibration.sets import (
    CalibrationManifest,
    CalibrationSet,
    load_set,
    load_sets,
    save_set,
    save_sets,
)
from ptq_pipeline.calibration.strategies import draw_set, parse_options
from ptq_pipeline.calibration.suite import judged_hashes
from ptq_pipeline.calibration.thresholds import Thresholds, freeze_thresholds
from ptq_pipeline.calibration.validation import SetValidator, stored_profile

__all__ = [
    "COMPARISON",
    "EVIDENCE",
    "STRATEGIES",
    "CalibrationManifest",
    "CalibrationSet",
    "DrawPlan",
    "Drawing",
    "DrawnSets",
    "Pool",
    "SetValidator",
    "StrategyOptions",
    "Thresholds",
    "ValidationCache",
    "draw_set",
    "draw_valid_sets",
    "freeze_thresholds",
    "judged_hashes",
    "load_set",
    "load_sets",
    "parse_options",
    "register_strategy",
    "save_set",
    "save_sets",
    "stored_profile",
]
