"""What can be said about an image in numbers, and the segments that are cut from those numbers."""

from ptq_pipeline.profiling.features import (
    IMAGE_FEATURES,
    Projection,
    fit_projection,
    image_features,
    model_features,
    profile,
    profile_and_fit,
)
from ptq_pipeline.profiling.segments import (
    SegmentDefinition,
    SegmentRule,
    cut_segment,
    freeze,
    profile_as_audited,
    with_segments,
)

__all__ = [
    "IMAGE_FEATURES",
    "Projection",
    "SegmentDefinition",
    "SegmentRule",
    "cut_segment",
    "fit_projection",
    "freeze",
    "image_features",
    "model_features",
    "profile",
    "profile_and_fit",
    "profile_as_audited",
    "with_segments",
]
