"""Three sentences that a manager can say aloud in a meeting, filled with one audit's figures."""

from dataclasses import dataclass
from functools import cached_property

from ptq_pipeline.reporting.formats import count, points
from ptq_pipeline.reporting.tables import Part


@dataclass(frozen=True)
class Meeting(Part):
    """Values of the part "for the meeting", in one language."""

    language: str

    @cached_property
    def sentences(self) -> list[str]:
        """The average and the worst case; how calibration was varied; what happens next."""
        return [each for each in (self.harm, self.variation, self.plan) if each]

    @property
    def harm(self) -> str:
        """Whether the average holds, and which customers are hit in the worst case."""
        verdict = self.audit.verdict
        average, worst = verdict.average, verdict.worst
        if average is None or worst is None:
            return self.texts("who.nobody_judged")
        holds = self.texts(
            f"meeting.average_{self.audit.status_of(average)}",
            points=self.texts.drop(average.own_drop),
        )
        hit = self.texts(
            f"meeting.worst_{self.audit.status_of(worst)}",
            group=self.texts.group(worst.level, worst.group),
            shift=self.texts.shift(worst.shift),
            points=self.texts.drop(worst.own_drop),
            limit=points(worst.limit),
        )
        return self.texts("format.joiner").join([holds, hit])

    @property
    def variation(self) -> str:
        """How often calibration was drawn, and how far the draws differ in the worst group."""
        verdict, recipe = self.audit.verdict, self.audit.verdict.recipe
        cell = self.audit.cell(verdict.worst.key) if verdict.worst else None
        if cell is None or recipe.set_size is None:
            return ""
        return self.texts(
            "meeting.variation",
            n=cell.draws,
            size=count(recipe.set_size),
            low=points(cell.drop_min),
            high=points(cell.drop_max),
        )

    @property
    def plan(self) -> str:
        """What is to happen next, and on which condition."""
        worst = self.audit.verdict.worst
        group = self.texts.group(worst.level, worst.group) if worst else self.texts("word.none")
        limit = points(worst.limit) if worst else ""
        outcome = str(self.audit.decision.outcome)
        return self.texts(f"meeting.{outcome}", group=group, limit=limit)
