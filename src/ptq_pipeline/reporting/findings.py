"""What the verdict rests on: reasons, groups under every shift, and the worst group looked at."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

from ptq_pipeline.judgement.summary import SpreadCell
from ptq_pipeline.reporting.formats import clean_text, count
from ptq_pipeline.reporting.lost_images import GroupImage
from ptq_pipeline.reporting.results import worst_first
from ptq_pipeline.reporting.states import STATES
from ptq_pipeline.reporting.tables import Part, Row, Table, cell_values, why_not_judged

MOST_LAYERS = 10
_CELL = (
    *("group", "shift", "n", "drop_mean", "drop_worst", "limit", "drop", "interval", "status"),
    *("float_accuracy", "quantized_accuracy", "lost", "gained", "flips"),
)


class Thumbnail(NamedTuple):
    """A small image, PNG in base64, with the words that replace it."""

    png: str
    alt: str
    caption: str


class Findings(Part):
    """Values of ``findings.html.j2``."""

    @cached_property
    def reasons(self) -> Table:
        """The first reasons of the verdict."""
        shown = self.audit.verdict.reasons[: self.options.worst_cells]
        return self.reasons_table("reasons.caption", shown)

    @cached_property
    def other_reasons(self) -> Table:
        """All further reasons."""
        others = self.audit.verdict.reasons[self.options.worst_cells :]
        return self.reasons_table("reasons.caption_others", others)

    @cached_property
    def still_open(self) -> list[str]:
        """What would settle what a refusal leaves open; on the first screen otherwise."""
        verdict = self.audit.verdict
        if self.audit.decision.outcome != "refuse":
            return []
        return self.texts.all_said(verdict.settle, verdict.settle_sentences)

    @cached_property
    def worst_table(self) -> Table:
        """The judged groups that lose most, and the average."""
        judged = [cell for cell in self._worst if cell.judged][: self.options.worst_cells]
        return self._cells("worst.caption", [*judged, *self._average])

    @cached_property
    def all_cells(self) -> Table:
        """All cells in label order; the worst ones where there are too many."""
        ordered = self.audit.in_group_order
        if len(ordered) > self.options.max_rows:
            ordered = [*self._average, *self._worst]
        return self._cells("worst.caption_all", ordered)

    @cached_property
    def _average(self) -> list[SpreadCell]:
        return [cell for cell in self.audit.in_group_order if cell.level == "average"]

    @cached_property
    def _worst(self) -> list[SpreadCell]:
        return worst_first(cell for cell in self.audit.in_group_order if cell.level != "average")

    def _cells(self, caption: str, cells: Sequence[SpreadCell]) -> Table:
        rows = [self._row(cell) for cell in cells]
        return self.table(self.texts(caption), rows, _CELL)

    def _row(self, cell: SpreadCell) -> Row:
        values = {**cell_values(self.texts, cell), "drop_worst": cell.drop_max}
        if cell.critical:
            values["status"] = self.texts("status.with_critical", status=values["status"])
        return Row(values, STATES[cell.status].mark)

    @cached_property
    def not_judged(self) -> Table:
        """Groups that are not judged, and why."""
        texts = self.texts
        rows = [
            Row(
                {
                    "group": group.group,
                    "level": texts(f"level.{group.level}"),
                    "n": group.n,
                    "needed_n": group.needed_n,
                    "limit": group.limit,
                    "why": why_not_judged(texts, group),
                    "blocks": texts("word.yes" if group.blocks or group.critical else "word.no"),
                },
                "hatched",
            )
            for group in self.audit.verdict.groups_not_judged
        ]
        return self.table(texts("not_judged.caption"), rows)

    @property
    def all_judged(self) -> str:
        """What is said where no group is listed as not judged."""
        if only := self.audit.verdict.representatives:
            return self.texts("not_judged.representatives", n=count(len(only)))
        return self.texts("not_judged.none")

    @cached_property
    def left_out(self) -> Mapping[str, int]:
        """Files that are no part of the audit, counted by reason."""
        return self.audit.group_definitions.left_out

    @cached_property
    def lost_images(self) -> dict[str, str | list[Thumbnail]] | None:
        """The images of the worst group in words; ``None`` without one."""
        texts, found = self.texts, self.audit.lost_images
        if found is None or found.group is None:
            return None
        group = texts.group(found.group.level, found.group.group)
        return {
            "intro": texts(
                "lost_images.intro" if found.lost else "lost_images.none",
                group=group,
                shift=texts.shift(found.group.shift),
                shown=len(found.lost),
                lost=count(found.lost_count),
                images=count(found.n),
            ),
            "lost": self._thumbnails("lost_images.image", found.lost),
            "calibration_intro": texts(
                "lost_images.calibration" if found.calibration else "lost_images.no_calibration",
                group=group,
                shown=len(found.calibration),
                used=count(found.calibration_count),
                size=count(found.set_size),
            ),
            "calibration": self._thumbnails("lost_images.calibration_image", found.calibration),
        }

    def _thumbnails(self, key: str, images: Sequence[GroupImage]) -> list[Thumbnail]:
        found = []
        for number, image in enumerate(images, 1):
            words = image.model_dump(include={"label", "answer"})
            alt = self.texts(key, number=number, **{k: clean_text(v) for k, v in words.items()})
            found.append(Thumbnail(image.png, alt, self.texts(f"{key}_short", **words)))
        return found

    @cached_property
    def layers(self) -> Table:
        """The layers whose outputs differ most in the worst group, with their clip rates."""
        rows = [Row(row) for row in self.audit.worst_group_layers.to_dict("records")]
        keys = ("layer", "error_group", "error_all", "clip_group", "clip_all")
        return self.table(self.texts("layers.caption"), rows, keys, MOST_LAYERS)
