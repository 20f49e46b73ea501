"""What a report shows of a detector beside its verdict: the documents of ``detector.json``."""

from typing import ClassVar

from ptq_pipeline.core.documents import Document


class ClassFigures(Document):
    """A class on clean audit images.

    ``n`` objects; recall, average precision (at an overlap of .5, and over .5 to .95; null without
    pycocotools or without objects) and false alarms an image of the float model and of the
    candidate; ``recall_there`` and ``alarms_there`` are the candidate's at the other threshold.
    """

    name: str
    n: int
    float_recall: float | None
    recall: float | None
    float_alarms: float
    alarms: float
    float_ap50: float | None = None
    ap50: float | None = None
    float_ap: float | None = None
    ap: float | None = None
    recall_there: float | None = None
    alarms_there: float | None = None


class SizeFigures(Document):
    """The objects of one class and size on clean audit images."""

    name: str
    size: str
    n: int
    float_recall: float
    recall: float


class ThresholdFigures(Document):
    """The candidate at another threshold, on clean selection images.

    ``worst_drop`` is what ``worst_class`` loses against the float model at the operating threshold,
    and ``added_alarms`` are false alarms an image beyond its own there.
    """

    score: float
    recall: float
    worst_class: str
    worst_drop: float
    added_alarms: float


class DetectorFigures(Document):
    """A detector described, ``detector.json``; nothing is judged by it.

    Attributes:
        trial_id: of the candidate; None without one.
        classes: figures by class; none of a classifier.
        score: the operating threshold.
        limit: what a class may lose on clean images, a fraction.
        images: clean audit images.
        selection: clean selection images, on which thresholds are looked at.
        there: the highest threshold at which no class loses more than its limit on selection
            images, or the one at which the worst class loses least.
    """

    called: ClassVar[str] = "detector.json"
    way_out: ClassVar[str] = "run the pipeline 'reporting' again"

    trial_id: str | None
    score: float = 0.0
    limit: float = 0.0
    images: int = 0
    selection: int = 0
    classes: tuple[ClassFigures, ...] = ()
    sizes: tuple[SizeFigures, ...] = ()
    thresholds: tuple[ThresholdFigures, ...] = ()
    there: float = 0.0

    def at(self, score: float) -> ThresholdFigures:
        """Return the candidate at one of the thresholds."""
        return next(each for each in self.thresholds if each.score == score)
