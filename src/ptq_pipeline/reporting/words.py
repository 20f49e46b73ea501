"""The words of the first screen, each said where it is read: draw, segment, shift."""

from functools import cached_property
from typing import NamedTuple

from ptq_pipeline.core.group_ids import SegmentColumn
from ptq_pipeline.core.names import CLEAN
from ptq_pipeline.reporting.formats import clean_text, count, number
from ptq_pipeline.reporting.tables import Part

MOST_LINES = 12


class Picture(NamedTuple):
    """A small image, PNG in base64, with what it is."""

    png: str
    alt: str
    caption: str


class Word(NamedTuple):
    """A word, what it means in this audit, and what belongs to it."""

    key: str
    name: str
    text: str
    lines: tuple[str, ...] = ()
    pictures: tuple[Picture, ...] = ()


class Words(Part):
    """Values of ``words.html.j2``."""

    @cached_property
    def shown(self) -> list[Word]:
        """The words that this report uses."""
        return [word for word in (self.draw, self.segment, self.shift) if word is not None]

    @property
    def draw(self) -> Word | None:
        """How the model was calibrated again and again; None where one model was judged."""
        recipe = self.audit.verdict.recipe
        if not recipe.distinct_draws or recipe.set_size is None or recipe.result == "NONE":
            return None
        text = self.texts(
            "words.draw_text",
            n=count(recipe.distinct_draws),
            size=count(recipe.set_size),
            pool=count(recipe.pool_size),
        )
        return Word("draw", self.texts("words.draw"), text)

    @property
    def segment(self) -> Word | None:
        """Where each segment is cut; None where there is none."""
        segments = self.audit.group_definitions.segments
        lines = tuple(self._column(name, entry) for name, entry in segments.items())
        if not lines:
            return None
        return Word(
            "segment",
            self.texts("words.segment"),
            self.texts("words.segment_text"),
            lines[:MOST_LINES],
        )

    def _column(self, name: str, column: SegmentColumn) -> str:
        names = [clean_text(each) for each in column.names]
        # Numbers of the images are cut at thresholds, numbers of their source at boundaries.
        cuts = column.thresholds or column.boundaries or ()
        if len(cuts) != len(names) - 1 or not all(isinstance(cut, int | float) for cut in cuts):
            return self.texts(
                "words.given", column=clean_text(name), values=", ".join(names[:MOST_LINES])
            )
        parts = [f"{value} ≤ {number(cut)} <" for value, cut in zip(names, cuts, strict=False)]
        return self.texts(
            "words.cut",
            column=clean_text(name),
            feature=self.texts.identifier(column.feature or name),
            parts=" ".join([*parts, names[-1]]),
        )

    @property
    def shift(self) -> Word | None:
        """What is done to the audit images; None where they are judged as they are only."""
        others = [shift for shift in self.audit.shifts if shift != CLEAN]
        if not others:
            return None
        example = self.audit.lost_images.example if self.audit.lost_images else ()
        pictures = tuple(
            Picture(
                each.png,
                self.texts("words.picture", shift=self.texts.shift(each.shift)),
                self.texts.shift_name(each.shift),
            )
            for each in example
        )
        lines = () if pictures else tuple(map(self.texts.shift_name, others[:MOST_LINES]))
        return Word(
            "shift", self.texts("words.shift"), self.texts("words.shift_text"), lines, pictures
        )
