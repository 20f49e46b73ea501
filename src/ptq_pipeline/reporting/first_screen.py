"""The first screen: may it ship, who would be hurt, how sure is that, what to do next."""

from functools import cached_property
from typing import NamedTuple

from ptq_pipeline.core.group_ids import LEVELS, NAMED_LEVELS
from ptq_pipeline.judgement.summary import CellSummary
from ptq_pipeline.reporting.background import Background
from ptq_pipeline.reporting.business import Worth
from ptq_pipeline.reporting.formats import count, points
from ptq_pipeline.reporting.meeting import Meeting
from ptq_pipeline.reporting.next_step import NextStep, next_step
from ptq_pipeline.reporting.states import STATES, State
from ptq_pipeline.reporting.tables import Part
from ptq_pipeline.reporting.texts import available_languages, texts_about

GLYPHS = {"PASS": "✓", "FAIL": "✕", "INCONCLUSIVE": "?"}
HASH_DIGITS = 8
# Options of methods that give some layers more bits.
MORE_BITS = ("first_last_8_bit", "first_input_8_bit")


class Card(NamedTuple):
    """One group to remember: its drop, what is shown of it, and a bar on a shared scale.

    ``bar`` and ``limit_mark`` are positions in percent of the card's width.
    """

    kind: str
    group: str
    shift: str
    drop: str
    look: State
    state: str
    detail: str
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
    def units_note(self) -> str:
        """What is judged where it is no image; empty where it is."""
        found = self.audit.verdict.detector
        if found is None:
            return ""
        if found.alarms is None:
            return self.texts("page.units.objects")
        return self.texts("page.units.alarms", alarms=found.alarms)

    @property
    def one_model(self) -> bool:
        """Whether one model was judged, without calibration draws."""
        return self.audit.verdict.recipe.result == "NONE"

    @cached_property
    def identity(self) -> list[tuple[str, str]]:
        """What was audited, when and where, by name."""
        texts, options = self.texts, self.options
        model = options.model_name or texts(
            "identity.unnamed", hash=self.audit.float_model[:HASH_DIGITS]
        )
        images = max((cell.n for cell in self.audit.averages), default=0)
        recipe, source = self.audit.recipe, self.audit.verdict.source
        data = options.data_name or texts("identity.images", n=count(images))
        if source is not None:
            # A table says nothing of the model, and its files are its data.
            names = ", ".join(file.name for file in source.files) or texts("word.none")
            model, data = "", texts("page.table", files=names, n=count(source.units))
        facts = [
            ("model", model),
            ("data", data),
            ("recipe", self.recipe_words),
            ("runtime", recipe.get("runtime", {}).get("name", "")),
            ("date", texts.moment(self.audit.measured_at) if self.audit.measured_at else ""),
            ("environment", self.audit.decision.environment),
        ]
        return [(texts(f"identity.{key}"), value) for key, value in facts if value]

    @cached_property
    def recipe_words(self) -> str:
        """Bit-widths, method, corrections, and layers that have more bits."""
        method = self.audit.method
        if not method:
            return ""
        names = [method.get("rounding") or method.get("name") or "", *method.get("corrections", ())]
        words = [self.texts.identifier(name) for name in names]
        words += [self.texts(f"page.{key}") for key in MORE_BITS if method.get(key)]
        return self.texts(
            "page.subject",
            weights=method["weight_bits"],
            activations=method["activation_bits"],
            method=self.texts("page.and").join(words),
        )

    @cached_property
    def scope(self) -> str:
        """Whether this audit could approve, as a key."""
        if self.audit.verdict.recipe.result == "NONE":
            return "model"
        return "quick" if self.audit.quick_look else "full"

    @cached_property
    def who(self) -> str:
        """Who is hurt, as a natural frequency, and by which proof."""
        worst = self.audit.verdict.worst
        if worst is None:
            return self.texts("who.nobody_judged")
        status, recipe = self.audit.status_of(worst), self.audit.verdict.recipe
        said = self.texts(f"who.{status}", frequency=self._frequency(worst), n=count(worst.n))
        if status == "shown_bad" or recipe.result != "FAIL":
            return said
        # The one model that would ship proves nothing; those drawn beside it do.
        n, bad = count(recipe.distinct_draws), count(recipe.shown_bad)
        return self.texts("format.joiner").join([said, self.texts("who.other_draws", n=n, bad=bad)])

    @cached_property
    def beside(self) -> str:
        """The average under the same shift."""
        verdict = self.audit.verdict
        average = verdict.average_beside_worst or verdict.average
        return (
            "" if average is None else self.texts("who.beside", frequency=self._frequency(average))
        )

    def _frequency(self, cell: CellSummary) -> str:
        return self.texts.frequency(cell.own_drop, cell.limit, cell)

    @cached_property
    def step(self) -> NextStep:
        """The one next step."""
        return next_step(self.audit, self.options, self.texts)

    @cached_property
    def keep(self) -> str:
        """What serves until then; an empty text where the candidate may ship."""
        if self.outcome == "promote" or self.audit.verdict.source is not None:
            return ""
        champion = self.audit.decision.champion
        if champion is None:
            return self.texts("next.keep_float")
        return self.texts("next.keep_champion", version=champion.version)

    @cached_property
    def cards(self) -> list[Card]:
        """The worst class and segment, and the average under the shift of the worst group."""
        verdict = self.audit.verdict
        worst = verdict.worst
        # An intersection gets a card of its own only when it is what the headline is about.
        levels = LEVELS[1:] if worst and worst.level == "intersection" else NAMED_LEVELS
        found = [cell for level in levels if (cell := verdict.worst_by_level.get(level))]
        if not found and worst:
            found = [worst]
        if average := verdict.average_beside_worst or verdict.average:
            found.append(average)
        largest = [value for cell in found for value in (cell.own_drop, cell.limit)]
        scale = 1.15 * max([0.001, *largest])
        return [self._card(cell, scale) for cell in found]

    def _card(self, cell: CellSummary, scale: float) -> Card:
        texts, status = self.texts, self.audit.status_of(cell)
        return Card(
            kind=texts(f"card.kind_{cell.level}"),
            group=texts("group.all_images") if cell.level == "average" else cell.group,
            shift=texts("card.where", shift=texts.shift(cell.shift), count=count(cell.n)),
            drop=texts.drop(cell.own_drop),
            look=STATES[status],
            state=texts(f"card.{status}", limit=points(cell.limit)),
            detail=texts(
                "card.one_model" if self.one_model else "card.over_draws",
                n=self.audit.verdict.draws_behind,
                mean=points(cell.drop_mean_over_draws),
                worst=points(cell.drop_worst_draw),
            ),
            bar=_position(cell.own_drop, scale),
            limit_mark=_position(cell.limit, scale),
        )

    @cached_property
    def worth(self) -> list[str]:
        """What it saves and risks, how fast it is, and how it compares with what serves.

        Nothing of a table, which tells none of it.
        """
        if self.audit.verdict.source is not None:
            return []
        worth = Worth(self.audit, self.options, self.texts)
        background = Background(self.audit, self.options, self.texts)
        return [*worth.money, *background.speed_lines, worth.champion_line]

    @cached_property
    def in_short(self) -> list[str]:
        """How sure all this is, in two sentences."""
        texts, verdict = self.texts, self.audit.verdict
        recipe, lines = verdict.recipe, []
        if (n := recipe.distinct_draws) and not self.one_model:
            left = max(0, n - recipe.shown_good - recipe.shown_bad)
            kind = "bad" if recipe.shown_bad == n else "good" if recipe.shown_good == n else "mixed"
            counts = {"bad": recipe.shown_bad, "good": recipe.shown_good, "left": left}
            lines.append(
                texts(f"sure.{kind}", n=count(n), **{k: count(v) for k, v in counts.items()})
            )
        for worst in verdict.candidate.worst_groups[:1]:
            confidence = texts.percent(worst.confidence, 0)
            lines.append(texts("sure.bound", bound=points(worst.drop), confidence=confidence))
        return lines

    @cached_property
    def sure(self) -> list[str]:
        """The statistics behind it."""
        texts, verdict = self.texts, self.audit.verdict
        recipe, lines = verdict.recipe, [self.headline, *texts.statements(verdict)]
        if recipe.distinct_draws and verdict.source is None:
            size, pool = count(recipe.set_size), count(recipe.pool_size)
            lines.append(texts("sure.draws", n=recipe.distinct_draws, size=size, pool=pool))
        confidence = texts.percent(1 - verdict.policy.alpha, 0)
        lines.append(texts("sure.interval", confidence=confidence))
        if verdict.groups_not_judged:
            lines.append(texts("sure.not_judged", n=len(verdict.groups_not_judged)))
        if named := texts.not_judged(verdict):
            lines.append(named)
        if verdict.repeated_images:
            lines.append(texts("sure.repeated", n=verdict.repeated_images))
        if verdict.capped_groups:
            lines.append(texts("sure.capped", n=len(verdict.capped_groups)))
        return lines

    @property
    def headline(self) -> str:
        """The verdict's own headline: means over all draws."""
        said = self.texts.headline(self.audit.verdict)
        return said[:1].upper() + said[1:]

    @cached_property
    def open_questions(self) -> list[str]:
        """What would settle what is open; a refusal is settled, see the reasons."""
        verdict = self.audit.verdict
        if self.outcome != "inconclusive":
            return []
        return self.texts.all_said(verdict.settle, verdict.settle_sentences)

    @cached_property
    def meeting(self) -> list[Meeting]:
        """What can be said aloud, in the page's language first, then in the others."""
        languages = sorted(available_languages(), key=lambda each: each != self.options.language)
        return [
            Meeting(self.audit, self.options, texts_about(self.audit.verdict, each), language=each)
            for each in languages
        ]


def _position(value: float, scale: float) -> float:
    return round(100 * min(max(value / scale, 0.0), 1.0), 1)
