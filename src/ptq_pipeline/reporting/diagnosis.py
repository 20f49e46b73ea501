"""What the audit says about the cause: luck or system, which answers, which layers, what helps."""

from functools import cached_property

from ptq_pipeline.judgement.summary import SpreadCell
from ptq_pipeline.reporting.background import Background
from ptq_pipeline.reporting.formats import count, points
from ptq_pipeline.reporting.tables import Part, Row, Table

# A share of the variance from which the draw, and not the images, decides what a group loses.
MOSTLY = 0.5
# Times the error of all images from which a layer stands out in the worst group.
STANDS_OUT = 1.5


class Diagnosis(Part):
    """Values of ``diagnosis.html.j2``: sentences about the worst group, with their figures."""

    @cached_property
    def sentences(self) -> list[str]:
        """The conclusions, each with its figures; none where no group is judged."""
        if self._worst is None:
            return []
        found = [self.systematic, self.confusion, self.layers, self.strategies, self.width]
        return [sentence for sentence in found if sentence]

    @cached_property
    def _worst(self) -> SpreadCell | None:
        worst = self.audit.verdict.worst
        return None if worst is None else self.audit.cell(worst.key)

    @property
    def systematic(self) -> str:
        """Whether the recipe loses there by itself, or by the luck of its calibration images."""
        cell, limit = self._worst, self._worst and self._worst.limit
        if cell is None or limit is None or cell.draws < 2:
            return ""
        parts = {part.key: part for part in self.audit.verdict.components}
        part = parts.get(cell.key)
        share = part.draw_share if part else None
        if cell.drop_max <= limit:
            kind = "within"
        elif share is not None and share >= MOSTLY:
            kind = "luck"
        else:
            kind = "systematic" if cell.drop_min > limit else "both"
        said = self.texts(
            f"diagnosis.{kind}",
            n=count(cell.draws),
            low=points(cell.drop_min),
            high=points(cell.drop_max),
            limit=points(limit),
        )
        if share is None:
            return said
        explained = self.texts("diagnosis.draw_share", share=self.texts.percent(share, 0))
        return self.texts("format.joiner").join([said, explained])

    @property
    def confusion(self) -> str:
        """Which wrong answer takes most of the lost images."""
        found = self.audit.lost_images
        if found is None or not found.confusions:
            return ""
        first = found.confusions[0]
        return self.texts(
            "diagnosis.confusion",
            label=first.label,
            answer=first.answer,
            count=count(first.count),
            lost=count(found.lost_count),
        )

    @property
    def layers(self) -> str:
        """Which layer stands out in the worst group, or that none does."""
        table = self.audit.worst_group_layers
        if table.empty:
            return ""
        ratio = table["error_group"] / table["error_all"].clip(lower=1e-12)
        place = int(ratio.to_numpy().argmax())
        key = "layer" if ratio.iloc[place] >= STANDS_OUT else "no_layer"
        return self.texts(
            f"diagnosis.{key}",
            layer=str(table["layer"].iloc[place]),
            ratio=f"{float(ratio.iloc[place]):.1f}",
        )

    @property
    def strategies(self) -> str:
        """Whether another calibration strategy brings the worst group within its limit."""
        cell = self._worst
        if cell is None or cell.limit is None:
            return ""
        rows = self.audit.scores.query("split == 'selection'")
        here = rows[
            (rows["level"] == cell.level)
            & (rows["group"] == cell.group)
            & (rows["shift"] == cell.shift)
        ]
        means = here.groupby(["role", "strategy"])["drop"].mean()
        others = means[means.index.get_level_values("role") == "comparison"]
        own = means[means.index.get_level_values("role") == "evidence"]
        if others.empty or own.empty:
            return ""
        if own.iloc[0] <= cell.limit:
            return ""
        best = others.idxmin()[1]
        kind = "helps" if others.min() <= cell.limit else "does_not_help"
        return self.texts(
            f"diagnosis.strategy_{kind}",
            best=self.texts.identifier(best),
            n=count(len(others)),
            least=points(float(others.min())),
            own=points(float(own.iloc[0])),
            limit=points(cell.limit),
        )

    @property
    def width(self) -> str:
        """What the next width of weights costs on disk, where that is known."""
        return Background(self.audit, self.options, self.texts).stored_wider

    @cached_property
    def confusions(self) -> Table:
        """To which answers the lost images of the worst group went."""
        found = self.audit.lost_images
        rows = [
            Row({"class": each.label, "answer": each.answer, "lost": each.count})
            for each in (found.confusions if found else ())
        ]
        return self.table(self.texts("diagnosis.caption_confusions"), rows)
