"""What to do now: one step, its command, and about how long it takes."""

import math
from typing import NamedTuple

from ptq_pipeline.judgement.sentences import Sentence
from ptq_pipeline.judgement.verdict import Verdict
from ptq_pipeline.reporting.formats import count
from ptq_pipeline.reporting.results import AuditResults, ReportingParameters
from ptq_pipeline.reporting.texts import Texts

BASE = "base"
# Recipes that `kedro ptq ladder` tries as shipped.
LADDER = 5
# Sets that `kedro ptq repair` tries on selection images before its one audit, as shipped, and those
# of them that GPTQ rounds, whose processor time for a calibration image is that of inference on so
# many images (benchmarks/method_time.py).
SEARCHED, ROUNDED = 60, 30
GPTQ_IMAGES = 120
FULL_BITS = 8


class NextStep(NamedTuple):
    """What to do in a sentence, the command that does it, and about how long that takes."""

    text: str
    command: str
    time: str


def next_step(audit: AuditResults, options: ReportingParameters, texts: Texts) -> NextStep:
    """Give the one next step of an audit; it never contradicts the decision."""
    return _Steps(audit, options, texts).step()


class _Steps:
    def __init__(self, audit: AuditResults, options: ReportingParameters, texts: Texts) -> None:
        self.audit, self.mount, self.texts = audit, options.mount, texts
        self.verdict: Verdict = audit.verdict
        self.environment = audit.decision.environment

    def step(self) -> NextStep:
        outcome = str(self.audit.decision.outcome)
        if self.verdict.source is not None:
            # What another toolchain makes next is no command of this one.
            return NextStep(self.texts(f"step.table_{outcome}"), "", "")
        if outcome == "promote":
            return self._after_pass()
        if outcome == "refuse":
            return self._after_refusal()
        return self._to_settle()

    def _after_pass(self) -> NextStep:
        if self.environment != BASE:
            text = self.texts("step.promote_elsewhere", environment=self.environment)
            return self._audit(text, environment=BASE)
        command = self._ptq("promote")
        return NextStep(self.texts("step.promote"), command, self.texts("step.at_once"))

    def _after_refusal(self) -> NextStep:
        if self.verdict.result == "PASS":
            # It passes on its own: what serves, or the exported file, speaks against it.
            command = self._ptq("gate")
            return NextStep(self.texts("step.see_gate"), command, self.texts("step.at_once"))
        if self._bits() >= FULL_BITS and self.verdict.recipe.result != "FAIL":
            return self._explain()
        if self.environment == BASE:
            return NextStep(self.texts("step.repair"), self._ptq("repair"), self._time_of_repair())
        command = self._ptq("ladder", environment=BASE)
        return NextStep(self.texts("step.ladder"), command, self._time(LADDER))

    def _to_settle(self) -> NextStep:
        said = [each for each in self.verdict.settle_sentences if each.key in _SETTLED_BY]
        if self.audit.quick_look:
            return self._audit(self.texts("step.full_audit"), environment=BASE)
        if said and (draws := _draws(said[0], self.verdict)):
            changes = f"calibration.draws={draws},worst_case_check.draws={draws}"
            return self._audit(self.texts("step.draws", draws=count(draws)), changes)
        if said:
            text = self.texts.said(said[0].text, said[0])
            return self._audit(self.texts("step.images", settle=text))
        if self._bits() < FULL_BITS:
            bits = f"quantization.method.weight_bits={FULL_BITS},"
            bits += f"quantization.method.activation_bits={FULL_BITS}"
            return self._audit(self.texts("step.bits", bits=FULL_BITS), bits)
        return self._explain()

    def _explain(self) -> NextStep:
        worst = self.verdict.worst
        if worst is None:
            return NextStep(self.texts("step.plan"), self._ptq("plan"), self.texts("step.at_once"))
        group = "'" + worst.group.replace("'", "'\\''") + "'"
        command = self._ptq("explain", group)
        return NextStep(self.texts("step.explain"), command, self.texts("step.minute"))

    def _bits(self) -> int:
        method = self.audit.recipe.get("method", {})
        return min(method.get(f"{kind}_bits", FULL_BITS) for kind in ("weight", "activation"))

    def _audit(self, text: str, changes: str = "", environment: str | None = None) -> NextStep:
        parts = ["kedro run", *self._environment(environment)]
        parts += ["--pipelines", self.mount] if self.mount else []
        if changes:
            inside = [f"{self.mount}.{each}" for each in changes.split(",")] if self.mount else []
            parts += ["--params", ",".join(inside) or changes]
        return NextStep(text, " ".join(parts), self._time(1))

    def _ptq(self, *words: str, environment: str | None = None) -> str:
        where = ["--mount", self.mount] if self.mount else []
        return " ".join(["kedro ptq", *words, *self._environment(environment), *where])

    def _environment(self, environment: str | None) -> list[str]:
        chosen = environment or self.environment
        return [] if chosen == BASE else ["--env", chosen]

    def _time(self, audits: int) -> str:
        """About how long so many audits take here, by what inference alone takes."""
        key = "step.minutes_each" if audits > 1 else "step.minutes"
        return self._minutes(key, audits * self._answers(), audits=audits)

    def _time_of_repair(self) -> str:
        """About how long a search and the audit of its winner take here, GPTQ at every draw."""
        average = self.audit.scores.query("level == 'average'")
        of_a_set = average.query("split == 'selection'").groupby("trial_id")["n"].sum().max()
        size = int(self.audit.parameters.get("calibration", {}).get("set_size", 256))
        rounded = (ROUNDED + average["trial_id"].nunique()) * size * GPTQ_IMAGES
        return self._minutes("step.minutes_repair", self._answers() + SEARCHED * of_a_set + rounded)

    def _answers(self) -> int:
        return int(self.audit.scores.query("level == 'average'")["n"].sum())

    def _minutes(self, key: str, images: float, **values: int) -> str:
        speed = self.audit.candidate_speed
        if speed is None or speed.candidate is None:
            return ""
        minutes = images / speed.candidate.images_per_second / 60
        return self.texts(key, n=max(1, math.ceil(minutes)), **values)


# Sentences of `settle` that more draws or more images answer.
_SETTLED_BY = frozenset(
    "settle.preset_draws settle.trials settle.distinct_draws settle.new_run settle.fresh_images "
    "settle.group_samples settle.keeps settle.exceeds".split()
)


def _draws(settle: Sentence, verdict: Verdict) -> int | None:
    """How many draws a new run needs, where draws are what is missing."""
    if settle.key == "settle.new_run":
        return int(settle.values["draws"])
    if settle.key == "settle.distinct_draws":
        return int(settle.values["preset"])
    return verdict.recipe.draws if settle.key == "settle.preset_draws" else None
