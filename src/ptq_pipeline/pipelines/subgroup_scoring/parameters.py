"""Parameters of ``subgroup_scoring``."""

from pydantic import BaseModel, ConfigDict, Field


class SubgroupScoringParameters(BaseModel):
    """Which groups are scored.

    Attributes:
        segments: Segment columns to use; all of them when null.
        intersections: Whether classes are crossed with segments.
        intersection_min_size: Intersections with fewer audit samples are left out.
        intersection_depth: 2 crosses classes with each segment; d crosses up to d - 1 segments with
            each other, and classes with each of these.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    segments: tuple[str, ...] | None = None
    intersections: bool = True
    intersection_min_size: int = Field(default=20, ge=1)
    intersection_depth: int = Field(default=2, ge=2, le=5)
