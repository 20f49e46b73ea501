"""The decision on one candidate: a pure function of what was found, sealed by its own hash."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, ClassVar, Literal

from pydantic import Field, ValidationError

from ptq_pipeline.core.canonical import canonical_hash
from ptq_pipeline.core.documents import READING, Document
from ptq_pipeline.core.errors import InputError, first_fault
from ptq_pipeline.judgement.baseline import ChampionName
from ptq_pipeline.judgement.champion import Comparison
from ptq_pipeline.judgement.obligations import TouchedObligation
from ptq_pipeline.judgement.reasons import Reason, Result
from ptq_pipeline.judgement.verdict_form import Verdict

# Without the hash of the execution: versions that earlier releases promoted hold such decisions.
_WITHOUT_EXECUTION_HASH = 2
SEAL = "decision_hash"
AGAIN = "decide again with the promotion pipeline"
BesideResult = Literal["PASS", "FAIL", "INCONCLUSIVE", "NONE"]


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
        ships: Whether it may.
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
        result: PASS, FAIL, or NONE without a candidate.
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
    """The artifact that the decision is about.

    Attributes:
        trial_id: trial that was judged, None when no trial could be chosen.
        set_id: calibration set of that trial.
        files: SHA-256 (hex) of every exported file, by its path inside the candidate's folder.
    """

    trial_id: str | None
    set_id: str | None
    files: dict[str, str]


class Decision(Document):
    """What is decided about a candidate and why.

    Attributes:
        outcome: promote, refuse or inconclusive.
        verdict: the verdict's result it follows from.
        comparison: likewise the result of the comparison with what serves; NONE where nothing does.
        execution: whether the exported file answers as the model that was judged; NONE when it
            was not executed.
        reasons: the reasons of all of them, rule by rule.
        candidate: the artifact with its hashes.
        verdict_hash: canonical hash of the whole verdict.
        comparison_hash: canonical hash of the whole comparison.
        execution_hash: canonical hash of the whole execution; earlier releases kept none.
        policy_hash: hash of the policy that the verdict was reached under.
        environment: configuration environment of the run; ``release`` accepts ``base`` by default.
        champion: the version that serves today, None when there is none.
        obligations: what was promised about groups and is touched by a release.
    """

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
            verdict: the verdict.
            files: SHA-256 of every exported file, by name.
            environment: configuration environment of the run.
            comparison: None where nothing serves.
            execution: None when the files were not executed.
            obligations: what was promised about groups and is touched.
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
    def hash(self) -> str:
        """Canonical hash of everything else: the name by which a release knows this decision."""
        return canonical_hash(super().to_json())

    def to_json(self) -> dict[str, Any]:
        """Return the content of ``decision.json``."""
        return {**super().to_json(), SEAL: self.hash}

    def origin(self, trial: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a promotion's record says of the origin of its version.

        Args:
            trial: content of the candidate's ``trial.json``.
        """
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
    def from_json(cls, content: Mapping[str, Any]) -> Decision:
        """Read a decision and check its seal.

        Raises:
            InputError: if the schema version is unknown, a field is missing or unknown, or the
                content does not match ``decision_hash``.
        """
        version = content.get("schema_version")
        if version not in (2, 3):
            raise InputError(
                f"the decision has schema version {version}; this version reads 3: {AGAIN}"
            )
        said = {key: value for key, value in content.items() if key != SEAL}
        expected = {field.alias or name for name, field in cls.model_fields.items()} | {SEAL}
        if version == _WITHOUT_EXECUTION_HASH:
            expected.discard("execution_hash")
        if missing := sorted(expected - set(content)):
            raise InputError(f"the decision is incomplete or damaged ('{missing[0]}'); {AGAIN}")
        if canonical_hash(said) != content[SEAL]:
            raise InputError(
                f"the decision does not match its hash {content[SEAL]}: it was edited after it was "
                f"written; {AGAIN}"
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
