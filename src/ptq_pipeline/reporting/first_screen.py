"""The first screen: may it ship, who would be hurt, how sure is that, what to do next."""

from functools import cached_property
from typing import NamedTuple

from ptq_pipeline.core.group_ids import LEVELS, NAMED_LEVELS
from ptq_pipeline.judgement.summary import CellSummary
from ptq_pipeline.reporting.background import Background
from ptq_pipeline.reporting.business import Worth
from ptq_pipeline.reporting.tables import Part
from ptq_pipeline.reporting.texts import count, points

GLYPHS = {"PASS": "✓", "FAIL": "✕", "INCONCLUSIVE": "?"}


class Card(NamedTuple):
    """One number to remember: a group, its drop, how sure, and a bar on a shared scale.

    ``bar`` and ``limit_mark`` are positions in percent of the card's width.
    """

    kind: str
    group: str
    shift: str
    drop: str
    over: bool
    state: str
    detail: str
    sure: str
    bar: float
    limit_mark: float


class FirstScreen(Part):
    """Values of ``first_screen.html.j2``: what a manager reads."""

    @cached_property
    def glyph(self) -> str:
        """The result for those who do not see its colour."""
        return GLYPHS[self.audit.verdict.result]

    @cached_property
    def outcome(self) -> str:
        """What was decided; a candidate may pass and be refused beside what serves."""
        outcome = str(self.audit.decision.outcome)
        passed = outcome == "refuse" and self.audit.verdict.result == "PASS"
        return "refuse_after_pass" if passed else outcome

    @property
    def one_model(self) -> bool:
        """Whether one model was judged, without calibration draws."""
        return self.audit.verdict.recipe.result == "NONE"

    @cached_property
    def subject(self) -> str:
        """The bit-widths and the runtime of the recipe, or the table that was judged."""
        if (source := self.audit.verdict.source) is not None:
            names = ", ".join(file.name for file in source.files) or self.texts("word.none")
            return self.texts("page.table", files=names, n=count(source.units))
        recipe = self.audit.parameters["quantization"]
        return self.texts(
            "page.subject",
            weights=recipe["method"]["weight_bits"],
            activations=recipe["method"]["activation_bits"],
            runtime=recipe["runtime"]["name"],
        )

    @cached_property
    def headline(self) -> str:
        """The headline, which begins a line of its own."""
        said = self.texts.headline(self.audit.verdict)
        return said[:1].upper() + said[1:]

    @cached_property
    def cards(self) -> list[Card]:
        """The worst class and segment, and the average."""
        verdict = self.audit.verdict
        worst = verdict.worst
        # An intersection gets a card of its own only when it is what the headline is about.
        levels = LEVELS[1:] if worst and worst.level == "intersection" else NAMED_LEVELS
        found = [cell for level in levels if (cell := verdict.worst_by_level.get(level))]
        if not found and worst:
            found = [worst]
        if verdict.average:
            found.append(verdict.average)
        largest = [value for cell in found for value in (cell.drop_mean_over_draws, cell.limit)]
        scale = 1.15 * max([0.001, *largest])
        return [self._card(cell, scale) for cell in found]

    def _card(self, cell: CellSummary, scale: float) -> Card:
        texts, drop, limit = self.texts, cell.drop_mean_over_draws, cell.limit
        where = {"shift": texts.shift(cell.shift), "count": count(cell.n)}
        draws, worst = self.audit.verdict.draws_behind, points(cell.drop_worst_draw)
        return Card(
            kind=texts(f"card.kind_{cell.level}"),
            group=texts("group.all_images") if cell.level == "average" else cell.group,
            shift=texts("card.where", **where),
            drop=texts.drop(drop),
            over=drop > limit,
            state=texts(f"card.state_{'over' if drop > limit else 'within'}", limit=points(limit)),
            detail=texts(
                "card.one_model" if self.one_model else "card.over_draws", n=draws, worst=worst
            ),
            sure=self._candidate(cell),
            bar=_position(drop, scale),
            limit_mark=_position(limit, scale),
        )

    def _candidate(self, cell: CellSummary) -> str:
        """Say what the candidate itself loses."""
        if cell.candidate_drop is None:
            return self.texts("card.no_candidate")
        status = {each.key: each.status for each in self.audit.verdict.candidate.cells}
        shown = f"card.shown_{status.get(cell.key, '').removeprefix('shown_')}"
        return self.texts(
            "card.candidate",
            drop=points(cell.candidate_drop),
            interval=self.texts.interval(cell.interval),
            shown=self.texts(shown) if shown in self.texts else "",
        )

    @cached_property
    def next_steps(self) -> list[str]:
        """What to do now, and what would settle what is still open."""
        texts, verdict = self.texts, self.audit.verdict
        if verdict.source is not None:
            settled = texts.all_said(verdict.settle, verdict.settle_sentences)
            return [texts(f"next.table_{self.outcome}"), *settled]
        if self.outcome == "refuse":
            # A refusal is settled; what is still open is listed with the reasons.
            worst = verdict.worst
            remedy = worst and texts("next.remedy", group=texts.group(worst.level, worst.group))
            steps = [texts("next.do_not_ship"), remedy, texts("next.again")]
            return [step for step in steps if step]
        first = {
            "promote": texts("next.promote"),
            "refuse_after_pass": texts("next.keep_champion"),
            "inconclusive": texts("next.wait"),
        }[self.outcome]
        return [first, *texts.all_said(verdict.settle, verdict.settle_sentences)]

    @cached_property
    def worth(self) -> list[str]:
        """What it saves and risks, how fast it is, and how it compares with what serves."""
        worth = Worth(self.audit, self.options, self.texts)
        speed = Background(self.audit, self.options, self.texts).speed_line
        return [*worth.money, *([speed] if speed else []), worth.champion_line]

    @cached_property
    def sure(self) -> list[str]:
        """How sure all this is."""
        texts, verdict = self.texts, self.audit.verdict
        recipe, lines = verdict.recipe, texts.statements(verdict)
        if recipe.distinct_draws and verdict.source is None:
            still_open = recipe.distinct_draws - recipe.shown_good - recipe.shown_bad
            lines.append(
                texts(
                    "sure.draws",
                    n=recipe.distinct_draws,
                    size=count(recipe.set_size),
                    pool=count(recipe.pool_size),
                    bad=count(recipe.shown_bad),
                    good=count(recipe.shown_good),
                    open=count(max(0, still_open)),
                )
            )
        lines.append(texts("sure.interval"))
        if verdict.groups_not_judged:
            lines.append(texts("sure.not_judged", n=len(verdict.groups_not_judged)))
        if named := texts.not_judged(verdict):
            lines.append(named)
        if verdict.repeated_images:
            lines.append(texts("sure.repeated", n=verdict.repeated_images))
        return lines


def _position(value: float, scale: float) -> float:
    return round(100 * min(max(value / scale, 0.0), 1.0), 1)
