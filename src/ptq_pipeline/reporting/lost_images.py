"""What of the worst group is shown as pictures: the documents of ``lost_images.json``."""

from typing import ClassVar

from ptq_pipeline.core.documents import Document
from ptq_pipeline.core.group_ids import CellDocument


class GroupImage(Document):
    """A small image of the worst group, with the name of its class; PNG in base64."""

    sample_id: int
    label: str
    png: str


class LostImage(GroupImage):
    """One that the candidate loses, with what it answers."""

    answer: str


class ShiftImage(Document):
    """One image as a shift leaves it; PNG in base64."""

    shift: str
    png: str


class Confusion(Document):
    """How often one class is lost to one answer."""

    label: str
    answer: str
    count: int


class LostImages(Document):
    """Images of the worst group, ``lost_images.json``: the first lost ones, and calibration images.

    Of the group's ``n`` judged images ``lost_count`` are lost, and ``confusions`` says to which
    answers, the most frequent first; ``calibration_count`` of the
    ``set_size`` images of the calibration set belong to it. ``example`` is one image of the group
    under every shift. Without a candidate there is no group.
    """

    called: ClassVar[str] = "lost_images.json"
    way_out: ClassVar[str] = "run the pipeline 'reporting' again"

    trial_id: str | None
    group: CellDocument | None = None
    n: int = 0
    lost_count: int = 0
    lost: tuple[LostImage, ...] = ()
    confusions: tuple[Confusion, ...] = ()
    calibration_count: int = 0
    set_size: int = 0
    calibration: tuple[GroupImage, ...] = ()
    example: tuple[ShiftImage, ...] = ()
