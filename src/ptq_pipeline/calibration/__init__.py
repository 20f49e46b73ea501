"""Calibration sets: how they are drawn, what they are, and whether they resemble production."""

from ptq_pipeline.calibration.cache import ValidationCache
from ptq_pipeline.calibration.draws import (
    COMPARISON,
    EVIDENCE,
    DrawnSets,
    draw_valid_sets,
)
from ptq_pipeline.calibration.parameters import CalibrationParameters
from ptq_pipeline.calibration.pool import Pool
from ptq_pipeline.calibration.sets import (
    CalibrationManifest,
    CalibrationSet,
    load_set,
    load_sets,
    save_set,
    save_sets,
)
from ptq_pipeline.calibration.strategies import STRATEGIES, DrawPlan, draw_set, parse_strategy
from ptq_pipeline.calibration.strategy import Drawing, Strategy
from ptq_pipeline.calibration.suite import judged_hashes
from ptq_pipeline.calibration.thresholds import Thresholds, freeze_thresholds
from ptq_pipeline.calibration.validation import SetValidator, stored_profile

__all__ = [
    "COMPARISON",
    "EVIDENCE",
    "STRATEGIES",
    "CalibrationManifest",
    "CalibrationParameters",
    "CalibrationSet",
    "DrawPlan",
    "Drawing",
    "DrawnSets",
    "Pool",
    "SetValidator",
    "Strategy",
    "Thresholds",
    "ValidationCache",
    "draw_set",
    "draw_valid_sets",
    "freeze_thresholds",
    "judged_hashes",
    "load_set",
    "load_sets",
    "parse_strategy",
    "save_set",
    "save_sets",
    "stored_profile",
]
