"""The decision on one candidate, sealed by its own hash, and what a release owes to people outside.

Floors that a contract promises and notices refuse no candidate. They are listed where a release
touches them, so that somebody acknowledges each by name and figure before the release, and the
record says who.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, ValidationError

from ptq_pipeline.core.canonical import canonical_hash
from ptq_pipeline.core.documents import READING, Document, SealedDocument
from ptq_pipeline.core.errors import InputError, first_fault
from ptq_pipeline.core.group_ids import CellDocument, CellKey
from ptq_pipeline.judgement.baseline import ChampionName
from ptq_pipeline.judgement.candidate import ComparedCell, JudgedCell, MeasuredCell
from ptq_pipeline.judgement.champion import Comparison
from ptq_pipeline.judgement.policy import Obligation, Policy, obligation_name
from ptq_pipeline.judgement.sentences import (
    BesideResult,
    Reason,
    Result,
    Sentence,
    place_value,
    say,
)
from ptq_pipeline.judgement.verdict import Verdict

# Without the hash of the execution: versions that earlier releases promoted hold such decisions.
_WITHOUT_EXECUTION_HASH = 2
AGAIN = "decide again with the promotion pipeline"
Kind = Literal["contract_floor", "notice_required"]
FIGURE = " = "
NOT_MEASURED = "not measured"
EPSILON = 1e-9


class ShiftAnswers(Document):
    """How many images of one shift the exported file answers otherwise."""

    n: int
    different: int


class ClassParity(Document):
    """One class of the exported file beside the simulation; shares are fractions."""

    added: ClassVar[frozenset[str]] = frozenset({"reference_accuracy", "other_accuracy"})

    class_: str = Field(alias="class")
    n: int
    agreement: float | None
    reference_accuracy: float | None = None
    other_accuracy: float | None = None
    drop_difference: float | None


class ExecutedFile(Document):
    """One file, or one way to execute it, beside the serving one.

    Attributes:
        optimization: How far the runtime may change the graph; None where it has no such setting.
        different: Of ``n`` images, those that it answers otherwise; None where it cannot run here.
        difference: What is wrong with it, if something is.
    """

    file: str
    runtime: str
    optimization: str | None
    n: int
    different: int | None
    difference: str | None
    ships: bool


class Execution(Document):
    """Whether the exported files answer as the model that was judged, ``candidate_execution.json``.

    Attributes:
        runtime: That serves.
        files: That it serves, the one to load first in front.
        result: NONE without a candidate.
        answers: By shift.
        parity: Per class with the simulation, on the clean selection images.
        others: What came of each file beside the served one.
        withheld: Names of files that do not ship.
    """

    called: ClassVar[str] = "the execution of the candidate"
    way_out: ClassVar[str] = "run the pipeline 'promotion' again"

    schema_version: int = 2
    trial_id: str | None = None
    runtime: str | None = None
    files: tuple[str, ...] = ()
    result: BesideResult = "NONE"
    answers: dict[str, ShiftAnswers] = Field(default_factory=dict)
    parity: tuple[ClassParity, ...] = ()
    reasons: tuple[Reason, ...] = ()
    others: tuple[ExecutedFile, ...] = ()
    withheld: tuple[str, ...] = ()


class TouchedObligation(CellDocument):
    """One obligation that a release of this candidate touches.

    Attributes:
        name: With the figure it is what acknowledges it.
        touched: Always true: what is not touched is not listed.
        observed: Accuracy of the candidate (a floor), or share of answers that change (a notice).
        lower: One-sided lower bound of that accuracy, by clusters where samples have them; None
            for a notice, and where the clusters are not known.
        floor: The promised accuracy, a fraction; None for a notice.
    """

    name: str
    touched: bool = True
    kind: Kind
    to: str
    observed: float | None = None
    lower: float | None = None
    floor: float | None = None
    n: int = 0
    text: str
    sentence: Sentence | None = None

    @classmethod
    def of(
        cls, kind: Kind, owed: Obligation, shift: str, sentence: Sentence, **figures: Any
    ) -> Self:
        """Give one by its sentence; ``figures`` are ``observed``, ``lower``, ``floor``, ``n``."""
        place = {"level": owed.level, "group": owed.group, "shift": shift}
        named = {"name": obligation_name(owed.to, kind, **place), "kind": kind, "to": owed.to}
        said = {"text": sentence.text, "sentence": sentence}
        return cls.model_validate({**named, **place, **said, **figures})

    @property
    def _floored(self) -> bool:
        """Whether less is worse: accuracy is, a share of changed answers is not."""
        return self.kind == "contract_floor"

    @property
    def acknowledgement(self) -> str:
        """The text that acknowledges it: its name and the figure."""
        if self.observed is None:
            return f"{self.name}{FIGURE}{NOT_MEASURED}"
        # Rounded towards the worse, so that the text covers the figure that it shows.
        tenths = 1000 * self.observed
        worse = math.floor(tenths + EPSILON) if self._floored else math.ceil(tenths - EPSILON)
        return f"{self.name}{FIGURE}{worse / 10:.1f} %"

    def acknowledged_by(self, text: str) -> bool:
        """Whether an acknowledgement covers it: same name, and no worse a figure.

        Who has taken note of 88 % accuracy has not taken note of 80 %.
        """
        name, found, figure = text.rpartition(FIGURE)
        if not found or name != self.name:
            return False
        if self.observed is None:
            return figure == NOT_MEASURED
        try:
            noted = float(figure.removesuffix("%"))
        except ValueError:
            return False
        observed = 100 * self.observed
        return observed >= noted - EPSILON if self._floored else observed <= noted + EPSILON


def touched_obligations(
    policy: Policy, cells: Collection[JudgedCell], compared: Collection[ComparedCell] = ()
) -> tuple[TouchedObligation, ...]:
    """List the obligations that a release of the candidate touches, in the order of the policy.

    A floor is touched unless the candidate's accuracy is *shown* to reach it. A notice is touched
    when the candidate answers any image of the group differently from what serves today, or from
    the float model, where nothing serves and so nothing is ``compared``.
    """
    own = {cell.key: cell for cell in cells}
    against: dict[CellKey, ComparedCell] = {cell.key: cell for cell in compared}
    found = []
    for owed in policy.obligations:
        for shift in owed.shifts:
            key = CellKey(owed.level, owed.group, shift)
            if owed.contract_floor is not None:
                found.append(_floor(owed, key, own.get(key)))
            if owed.notice_required:
                changed = against.get(key) if against else own.get(key)
                found.append(_notice(owed, key, changed, bool(against)))
    return tuple(each for each in found if each is not None)


def _floor(owed: Obligation, key: CellKey, cell: JudgedCell | None) -> TouchedObligation | None:
    floor = float(owed.contract_floor or 0) / 100
    promise = {"to": owed.to, "floor": floor, "cell": place_value(key)}
    if cell is None:
        sentence = say("floor.not_measured", **promise)
        return TouchedObligation.of("contract_floor", owed, key.shift, sentence, floor=floor)
    n, accuracy, lower = cell.n, cell.quantized_accuracy, cell.accuracy_lower
    if lower is not None and lower >= floor:
        return None
    reached = {**promise, "accuracy": accuracy, "n": n}
    if lower is None:
        sentence = say("floor.not_independent", **reached)
    else:
        name = "floor.below" if accuracy < floor else "floor.not_shown"
        sentence = say(name, **reached, lower=lower)
    figures = {"floor": floor, "observed": accuracy, "lower": lower, "n": n}
    return TouchedObligation.of("contract_floor", owed, key.shift, sentence, **figures)


def _notice(
    owed: Obligation, key: CellKey, cell: MeasuredCell | None, champion: bool
) -> TouchedObligation | None:
    owes = {"to": owed.to, "cell": place_value(key)}
    if cell is None:
        sentence = say("notice.not_measured", **owes)
        return TouchedObligation.of("notice_required", owed, key.shift, sentence)
    if cell.flips == 0:
        return None
    name = "notice.champion" if champion else "notice.float_model"
    sentence = say(name, **owes, flips=cell.flips, n=cell.n)
    figures = {"observed": cell.flips / cell.n, "n": cell.n}
    return TouchedObligation.of("notice_required", owed, key.shift, sentence, **figures)


class Outcome(StrEnum):
    """What happens with the candidate."""

    PROMOTE = "promote"
    REFUSE = "refuse"
    INCONCLUSIVE = "inconclusive"


_OUTCOMES = {
    "FAIL": Outcome.REFUSE,
    "INCONCLUSIVE": Outcome.INCONCLUSIVE,
    "PASS": Outcome.PROMOTE,
}


def outcome_of(verdict: Result, *beside: BesideResult) -> Outcome:
    """Return what follows from a verdict and from what was found beside it: promotion needs all.

    NONE, where nothing serves yet or nothing was executed, decides nothing.
    """
    found = {verdict, *beside}
    return next(outcome for result, outcome in _OUTCOMES.items() if result in found)


class DecisionCandidate(Document):
    """The artifact that the decision is about, without a trial when none could be chosen.

    ``files`` holds the SHA-256 (hex) of every exported file, by its path in the candidate's folder.
    """

    trial_id: str | None
    set_id: str | None
    files: dict[str, str]


class Decision(SealedDocument):
    """What is decided about a candidate and why; a release knows it by its hash.

    Attributes:
        comparison: Result of the comparison with what serves; NONE where nothing does.
        execution: Whether the exported file answers as the model that was judged; NONE when it
            was not executed.
        reasons: Those of verdict, comparison and execution, rule by rule.
        execution_hash: Canonical hash of the whole execution; earlier releases kept none.
        environment: Configuration environment of the run; ``release`` accepts ``base`` by default.
        champion: The version that serves today, None when there is none.
        obligations: What was promised about groups and is touched by a release.
    """

    seal: ClassVar[str] = "decision_hash"

    schema_version: Literal[2, 3] = 3
    execution_hash: str | None = None
    outcome: Outcome = Field(alias="decision")
    verdict: Result
    comparison: BesideResult
    execution: BesideResult
    reasons: tuple[Reason, ...]
    candidate: DecisionCandidate
    verdict_hash: str
    comparison_hash: str
    policy_hash: str
    champion: ChampionName | None
    obligations: tuple[TouchedObligation, ...]
    environment: str

    @classmethod
    def of(
        cls,
        verdict: Verdict,
        files: Mapping[str, str],
        environment: str,
        *,
        comparison: Comparison | None = None,
        execution: Execution | None = None,
        obligations: tuple[TouchedObligation, ...] = (),
    ) -> Decision:
        """Decide by the verdict, by the comparison with what serves, and by the files themselves.

        Args:
            verdict: The verdict.
            files: SHA-256 of every exported file, by name.
            environment: Configuration environment of the run.
            comparison: None where nothing serves.
            execution: None when the files were not executed.
            obligations: What was promised about groups and is touched.
        """
        comparison = comparison or Comparison(result="NONE", champion=None)
        execution = execution or Execution()
        return cls(
            decision=outcome_of(verdict.result, comparison.result, execution.result),
            verdict=verdict.result,
            comparison=comparison.result,
            execution=execution.result,
            reasons=(*verdict.reasons, *comparison.reasons, *execution.reasons),
            candidate=DecisionCandidate(
                trial_id=verdict.candidate.trial_id,
                set_id=verdict.candidate.set_id,
                files=dict(files),
            ),
            verdict_hash=verdict.hash,
            comparison_hash=comparison.hash,
            execution_hash=execution.hash,
            policy_hash=verdict.policy_hash,
            environment=environment,
            champion=comparison.champion,
            obligations=obligations,
        )

    @property
    def distinct_reasons(self) -> tuple[Reason, ...]:
        """The reasons, each sentence once: recipe and candidate often have the same one."""
        return tuple({reason.text: reason for reason in self.reasons}.values())

    def origin(self, trial: Mapping[str, Any]) -> dict[str, Any]:
        """What a promotion's record says of its version's origin; ``trial`` is ``trial.json``."""
        spec, files = trial["spec"], self.candidate.files
        return {
            "float_model": spec["model"],
            "artifact": canonical_hash({k: v for k, v in files.items() if k.startswith("model.")}),
            "recipe": canonical_hash(spec["method"]),
            "policy": self.policy_hash,
            "evaluation": spec["evaluation"],
            "calibration_set": self.candidate.set_id,
        }

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> Self:
        """Read a decision and check its seal.

        Raises:
            InputError: It is of another schema version, incomplete, damaged or edited.
        """
        version = content.get("schema_version")
        if version not in (_WITHOUT_EXECUTION_HASH, 3):
            raise InputError(
                f"the decision has schema version {version}; this version reads 3: {AGAIN}"
            )
        said = {key: value for key, value in content.items() if key != cls.seal}
        expected = {field.alias or name for name, field in cls.model_fields.items()} | {cls.seal}
        if version == _WITHOUT_EXECUTION_HASH:
            expected.discard("execution_hash")
        if missing := sorted(expected - set(content)):
            raise InputError(f"the decision is incomplete or damaged ('{missing[0]}'); {AGAIN}")
        if canonical_hash(said) != content[cls.seal]:
            raise InputError(
                f"the decision does not match its hash {content[cls.seal]}: it was edited after it "
                f"was written; {AGAIN}"
            )
        try:
            decision = cls.model_validate(said, context=READING)
        except ValidationError as error:
            raise InputError(
                f"the decision is incomplete or damaged ({first_fault(error)}); {AGAIN}"
            ) from error
        results = (decision.verdict, decision.comparison, decision.execution)
        if outcome_of(*results) is not decision.outcome:
            raise InputError(
                f"the decision says '{decision.outcome}' but its verdict is {results[0]}, its "
                f"comparison {results[1]} and its execution {results[2]}; {AGAIN}"
            )
        return decision
