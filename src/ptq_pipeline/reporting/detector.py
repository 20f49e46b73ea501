"""A detector in other figures than its verdict: average precision, sizes, other thresholds."""

from functools import cached_property

from ptq_pipeline.reporting.detector_figures import DetectorFigures
from ptq_pipeline.reporting.formats import count, number, points
from ptq_pipeline.reporting.tables import Part, Row, Table

_PRECISION = ("float_ap50", "ap50", "float_ap", "ap")


class DetectorPart(Part):
    """Values of ``detector.html.j2``."""

    @property
    def figures(self) -> DetectorFigures | None:
        """What is known; None of a classifier and without a candidate."""
        found = self.audit.detector
        return found if found and found.classes else None

    @property
    def _known(self) -> DetectorFigures:
        assert self.audit.detector is not None
        return self.audit.detector

    @property
    def intro(self) -> str:
        """On what, and that it proves nothing."""
        known = self._known
        return self.texts("detector.intro", images=count(known.images), score=number(known.score))

    @property
    def has_precision(self) -> bool:
        """Whether average precision was computed."""
        return any(each.ap is not None for each in self._known.classes)

    @cached_property
    def classes(self) -> Table:
        """Recall, alarms and average precision of every class."""
        left_out = {"name", *(() if self.has_precision else _PRECISION)}
        if self._known.there == self._known.score:
            left_out |= {"recall_there", "alarms_there"}
        rows = [
            Row({"class": each.name, **each.model_dump(exclude=left_out)})
            for each in self._known.classes
        ]
        return self.table(self.texts("detector.caption"), rows)

    @cached_property
    def sizes(self) -> Table:
        """Recall of every class and size."""
        rows = [
            Row(
                {
                    **{"class": each.name, "object_size": each.size, "n": each.n},
                    **{"float_recall": each.float_recall, "recall": each.recall},
                }
            )
            for each in self._known.sizes
        ]
        return self.table(self.texts("detector.caption_sizes"), rows)

    @property
    def other_threshold(self) -> str:
        """Whether another operating threshold would win back what is lost."""
        known = self._known
        found = known.at(known.there)
        kind = "does_not_help" if found.worst_drop > known.limit else "helps"
        return self.texts(
            f"detector.{'kept' if self.kept else kind}",
            n=count(known.selection),
            limit=points(known.limit),
            score=number(known.score),
            there=number(known.there),
            group=self.texts.group("class", found.worst_class),
            drop=points(found.worst_drop),
            added=f"{found.added_alarms:.2f}",
        )

    @property
    def kept(self) -> bool:
        """Whether no class loses too much at the operating threshold."""
        return self._known.at(self._known.score).worst_drop <= self._known.limit

    @cached_property
    def thresholds(self) -> Table:
        """The candidate at every threshold; the operating one and the other one are marked."""
        known = self._known
        rows = [
            Row(
                {
                    **{"score": each.score, "recall": each.recall, "class": each.worst_class},
                    **{"worst_drop": each.worst_drop, "added_alarms": each.added_alarms},
                },
                "strong" if each.score in (known.score, known.there) else "plain",
            )
            for each in known.thresholds
        ]
        caption = self.texts(
            "detector.caption_thresholds", n=count(known.selection), score=number(known.score)
        )
        return self.table(caption, rows, score="number")
