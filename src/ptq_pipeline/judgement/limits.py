"""What may be lost in a group, and how right the float model must be there.

People set both in *points* (percentage points of accuracy).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from ptq_pipeline.core.documents import Document
from ptq_pipeline.core.group_ids import GroupDocument
from ptq_pipeline.core.overlays import WITHOUT_NULL

Points = Annotated[float, Field(gt=0, lt=100)]
Floor = Annotated[float, Field(ge=0, lt=100)]
# The default floor of the float model: this share of the way from chance to always right.
FLOOR_MARGIN = 0.1


class LevelLimit(Document):
    """Limit of every group of one level.

    Attributes:
        points: Largest acceptable drop in points, under every shift without its own.
        shifts: Limits in points of single shifts.
        min_size: Groups with fewer audit samples are displayed but not judged, also where zero
            losses could pass; it is a rule on counts, fixed before any outcome.
    """

    points: Points
    shifts: Annotated[dict[str, Points], WITHOUT_NULL] = Field(default_factory=dict)
    min_size: Annotated[int, Field(ge=0)] = 0

    def under(self, shift: str | None) -> float:
        """Limit under a shift, in points; None asks for that of shifts without their own."""
        return self.points if shift is None else self.shifts.get(shift, self.points)


class CriticalGroup(GroupDocument):
    """A group that must be judged: if it cannot be, PASS is impossible.

    It may have limits of its own in points; where it has none those of its level apply.
    """

    points: Points | None = None
    shifts: Annotated[dict[str, Points], WITHOUT_NULL] = Field(default_factory=dict)

    def under(self, shift: str | None) -> float | None:
        """Own limit under a shift, in points, as :meth:`LevelLimit.under`."""
        return self.points if shift is None else self.shifts.get(shift, self.points)


class AllowedGroup(GroupDocument):
    """A class or segment that a PASS may leave out when it cannot be judged."""

    level: Literal["class", "segment"]


class FloatFloor(Document):
    """Accuracy that the float model must be shown to exceed for a group to be judged, in points.

    A level without a floor of its own has chance plus a tenth of the way from chance to always
    right: 19 points with 10 classes, 55 with two. Chance is one in the number of classes, and 0
    where outcomes have none.
    With an average below its floor on clean images no audit starts.
    """

    average: Floor | None = None
    class_: Floor | None = Field(default=None, alias="class")
    segment: Floor | None = None
    intersection: Floor | None = None

    def of(self, level: str, classes: int) -> float:
        """Floor of one level, as a fraction.

        Examples:
            >>> round(FloatFloor().of("class", 10), 3)
            0.19
        """
        own = _of_level(self, level)
        chance = 1 / classes if classes else 0.0
        return chance + FLOOR_MARGIN * (1 - chance) if own is None else float(own) / 100


class Limits(Document):
    """Limits of all levels."""

    average: LevelLimit
    class_: LevelLimit = Field(alias="class")
    segment: LevelLimit
    intersection: LevelLimit

    def of(self, level: str) -> LevelLimit:
        """Limit of one level by its name."""
        limit: LevelLimit = _of_level(self, level)
        return limit


def _of_level(by_level: Limits | FloatFloor, level: str) -> Any:
    return getattr(by_level, "class_" if level == "class" else level)
