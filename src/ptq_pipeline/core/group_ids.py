"""What a group is, and how it is called.

A group is a level, columns and values. Its label is made last, for people and as the name in
tables; two groups of one level that would get the same label are refused, so a label in a table
means one group, and nothing ever takes a label apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import reduce
from itertools import combinations, product
from typing import Any, ClassVar, Literal, NamedTuple, Self

from pydantic import ConfigDict, model_validator

from ptq_pipeline.core.documents import Document
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.names import ALARMS

AVERAGE_GROUP = "all"
# The column of `samples` that holds the class; no segment column may have this name.
CLASS_COLUMN = "label"
Level = Literal["average", "class", "segment", "intersection"]
LEVELS: tuple[Level, ...] = ("average", "class", "segment", "intersection")
CLASS_LEVEL: Level = "class"
SEGMENT_LEVEL: Level = "segment"
# The levels whose groups are named one by one: a PASS must speak of each of them.
NAMED_LEVELS = (CLASS_LEVEL, SEGMENT_LEVEL)
# A group as tables name it: its level and its label.
GroupKey = tuple[str, str]


class CellKey(NamedTuple):
    """A group under a shift."""

    level: str
    group: str
    shift: str

    @property
    def of(self) -> GroupKey:
        """The group."""
        return self.level, self.group


class GroupDocument(Document):
    """Something about one group, e.g. ``Sandal``, ``tone=dark`` or ``Sandal & tone=dark``."""

    level: Level
    group: str

    @property
    def key(self) -> GroupKey:
        """The group."""
        return self.level, self.group


class CellDocument(Document):
    """Something about one group under one shift."""

    level: Level
    group: str
    shift: str

    @property
    def key(self) -> CellKey:
        """The cell it is about."""
        return CellKey(self.level, self.group, self.shift)


@dataclass(frozen=True)
class GroupId:
    """What a group is, apart from how it is called.

    ``columns`` define it (``label`` for the class, none for the average) by their ``values``: the
    name of a class, or a value of the segment column.
    """

    level: str
    columns: tuple[str, ...] = ()
    values: tuple[Any, ...] = ()

    @property
    def label(self) -> str:
        """What people call it, for example ``Sandal & tone=dark``."""
        if not self.columns:
            return AVERAGE_GROUP
        named = zip(self.columns, self.values, strict=True)
        return " & ".join(
            str(value) if column == CLASS_COLUMN else f"{column}={value}" for column, value in named
        )

    @property
    def described(self) -> str:
        """Its columns and values, told apart."""
        named = zip(self.columns, self.values, strict=True)
        return " and ".join(
            f"class '{value}'" if column == CLASS_COLUMN else f"column '{column}' is '{value}'"
            for column, value in named
        )

    def crossed(self, other: GroupId) -> GroupId:
        """The intersection with another group."""
        return GroupId(
            "intersection", (*self.columns, *other.columns), (*self.values, *other.values)
        )


def class_ids(classes: Iterable[Any]) -> tuple[GroupId, ...]:
    """Ids of the classes in label order."""
    return tuple(GroupId(CLASS_LEVEL, (CLASS_COLUMN,), (name,)) for name in classes)


def segment_ids(column: str, values: Iterable[Any]) -> tuple[GroupId, ...]:
    """Ids of the values of one segment column."""
    return tuple(GroupId(SEGMENT_LEVEL, (column,), (value,)) for value in values)


def check_labels(ids: Iterable[GroupId]) -> None:
    """Refuse groups of one level that people could not tell apart.

    Raises:
        InputError: Naming both groups and what to rename.
    """
    known: dict[tuple[str, str], GroupId] = {}
    for each in ids:
        key = (each.level, each.label)
        if key not in known:
            known[key] = each
        elif each.level == CLASS_LEVEL:
            raise InputError(
                f"classes: two classes are called '{each.label}', so neither could be judged; give "
                "every class of the model a name of its own."
            )
        else:
            raise InputError(
                f"samples: two groups of level {each.level} would both be called '{each.label}': "
                f"{known[key].described}, and {each.described}; rename a class, column or value."
            )


class SegmentColumn(Document):
    """A column that defines groups, or conditions if it is a control.

    Attributes:
        names: Its values in order of display, without "missing" where it is cut.
        feature: The image feature that it was cut from.
        thresholds: Where that was cut; a value equal to one falls below it.
        boundaries: Where numbers, or times in ISO 8601, of the images' metadata were cut.
    """

    model_config = ConfigDict(extra="allow")

    rare: ClassVar[frozenset[str]] = frozenset({"feature", "thresholds", "boundaries"})

    names: tuple[str, ...]
    control: bool = False
    feature: str | None = None
    thresholds: tuple[float, ...] | None = None
    boundaries: tuple[int | float | str, ...] | None = None

    @model_validator(mode="after")
    def _say_controls_only(self) -> Self:
        if not self.control:
            self.model_fields_set.discard("control")
        return self


class GroupDefinitions(Document):
    """All groups that there can be, ``group_definitions.json``.

    Classes are in label order, segments in order of display; images were ``left_out`` by reason.
    Of a detector, ``objects`` are columns of annotated objects, and ``alarms`` is how many false
    alarms of a class count on one image; None where they are not looked at.
    """

    called: ClassVar[str] = "group_definitions"
    way_out: ClassVar[str] = "run the pipeline 'data_loading' again"

    classes: tuple[str, ...]
    segments: dict[str, SegmentColumn]
    left_out: dict[str, int] = {}
    objects: dict[str, SegmentColumn] = {}
    alarms: int | None = None

    @model_validator(mode="after")
    def _say_what_there_is(self) -> Self:
        for name in ("left_out", "objects"):
            if not getattr(self, name):
                self.model_fields_set.discard(name)
        if self.alarms is None:
            self.model_fields_set.discard("alarms")
        return self

    def columns(self, control: bool = False) -> dict[str, tuple[str, ...]]:
        """Segment columns with their values; instead of them the control columns."""
        every = self._every
        return {name: each.names for name, each in every.items() if each.control == control}

    @property
    def _every(self) -> dict[str, SegmentColumn]:
        """Columns of images and of objects, and the class that false alarms are counted of."""
        alarms = {} if self.alarms is None else {ALARMS: SegmentColumn(names=self.classes)}
        return {**self.segments, **self.objects, **alarms}

    def ids(self, level: str) -> Iterator[GroupId]:
        """Yield every group of a level, crossed as deeply as `build_groups` may cross them."""
        classes = class_ids(self.classes)
        columns = [segment_ids(name, each.names) for name, each in self._every.items()]
        if level == "average":
            yield GroupId("average")
        elif level == CLASS_LEVEL:
            yield from classes
        elif level == SEGMENT_LEVEL:
            yield from (each for column in columns for each in column)
        else:
            for together in range(1, len(columns) + 1):
                for segments in (
                    s for some in combinations(columns, together) for s in product(*some)
                ):
                    segment = reduce(GroupId.crossed, segments)
                    if together > 1:
                        yield segment
                    yield from (each.crossed(segment) for each in classes)
