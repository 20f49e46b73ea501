"""The decision on one candidate: a pure function of what was found, sealed by its own hash."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from ptq_pipeline.canonical import canonical_hash
from ptq_pipeline.errors import InputError

DECISION_SCHEMA_VERSION = 3
# Without the hash of the execution: versions that earlier releases promoted hold such decisions.
_WITHOUT_EXECUTION_HASH = 2
_VERDICT_SCHEMA_VERSIONS = (1,)


class Outcome(StrEnum):
    """What happens with the candidate."""

    PROMOTE = "promote"
    REFUSE = "refuse"
    INCONCLUSIVE = "inconclusive"


_OUTCOME_BY_RESULT = {
    "PASS": Outcome.PROMOTE,
    "FAIL": Outcome.REFUSE,
    "INCONCLUSIVE": Outcome.INCONCLUSIVE,
}


def outcome_of(result: str) -> Outcome:
    """Return the outcome of a verdict's result.

    Raises:
        InputError: for a result that is not PASS, FAIL or INCONCLUSIVE.
    """
    try:
        return _OUTCOME_BY_RESULT[result]
    except KeyError:
        raise InputError(
            f"the verdict's result is '{result}' and must be one of "
            f"{', '.join(_OUTCOME_BY_RESULT)}: write it anew with worst_case_check"
        ) from None


# A candidate that nothing serves beside is decided by its verdict alone.
_WORSE = {"NONE": "PASS", "PASS": "PASS", "INCONCLUSIVE": "INCONCLUSIVE", "FAIL": "FAIL"}


def combined_outcome(verdict: str, comparison: str, execution: str = "NONE") -> Outcome:
    """Return what follows from verdict, comparison and execution: promotion needs all.

    Raises:
        InputError: for a result that neither can have.
    """
    for what, result in (("comparison", comparison), ("execution", execution)):
        if result not in _WORSE:
            raise InputError(
                f"the {what}'s result is '{result}' and must be one of {', '.join(_WORSE)}: run "
                "worst_case_check and promotion anew"
            )
    found = {verdict, _WORSE[comparison], _WORSE[execution]}
    outcome_of(verdict)
    return next(
        outcome_of(result) for result in ("FAIL", "INCONCLUSIVE", "PASS") if result in found
    )


@dataclass(frozen=True)
class DecisionCandidate:
    """The artifact that the decision is about.

    Attributes:
        trial_id: trial that was judged, None when no trial could be chosen.
        set_id: calibration set of that trial.
        files: SHA-256 (hex) of every exported file, by its path inside the candidate's folder.
    """

    trial_id: str | None
    set_id: str | None
    files: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"trial_id": self.trial_id, "set_id": self.set_id, "files": dict(self.files)}


@dataclass(frozen=True)
class Decision:
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
        obligations: what was promised about groups; each has a ``name`` and says whether it is
            ``touched``.
    """

    outcome: Outcome
    verdict: str
    comparison: str
    reasons: tuple[Mapping[str, Any], ...]
    candidate: DecisionCandidate
    verdict_hash: str
    comparison_hash: str
    policy_hash: str
    environment: str
    champion: Mapping[str, Any] | None = field(default=None)
    obligations: tuple[Mapping[str, Any], ...] = ()
    execution: str = "NONE"
    execution_hash: str | None = None

    @classmethod
    def from_verdict(
        cls,
        verdict: Mapping[str, Any],
        files: Mapping[str, str],
        environment: str,
        *,
        comparison: Mapping[str, Any] | None = None,
        execution: Mapping[str, Any] | None = None,
        obligations: tuple[Mapping[str, Any], ...] = (),
    ) -> "Decision":
        """Decide by the verdict, and by the comparison with what serves.

        Args:
            verdict: content of ``verdict.json``.
            files: SHA-256 of every exported file, by name.
            environment: configuration environment of the run.
            comparison: content of ``champion_comparison.json``; None where nothing serves.
            execution: content of ``candidate_execution.json``; None when it was not executed.
            obligations: what was promised about groups and is touched.

        Raises:
            InputError: if verdict or comparison has another schema version or lacks a field.
        """
        version = verdict.get("schema_version")
        if version not in _VERDICT_SCHEMA_VERSIONS:
            raise InputError(
                f"the verdict has schema version {version}; this version reads "
                f"{list(_VERDICT_SCHEMA_VERSIONS)}: write it anew with worst_case_check"
            )
        if comparison is None:
            comparison = {"result": "NONE", "champion": None, "reasons": []}
        if execution is None:
            execution = {"result": "NONE", "reasons": []}
        try:
            return cls(
                outcome=combined_outcome(
                    verdict["result"], comparison["result"], execution["result"]
                ),
                verdict=verdict["result"],
                comparison=comparison["result"],
                execution=execution["result"],
                reasons=(*verdict["reasons"], *comparison["reasons"], *execution["reasons"]),
                candidate=DecisionCandidate(
                    verdict["candidate"]["trial_id"], verdict["candidate"]["set_id"], dict(files)
                ),
                verdict_hash=canonical_hash(dict(verdict)),
                comparison_hash=canonical_hash(dict(comparison)),
                execution_hash=canonical_hash(dict(execution)),
                policy_hash=verdict["policy_hash"],
                environment=environment,
                champion=comparison["champion"],
                obligations=tuple(obligations),
            )
        except KeyError as error:
            raise InputError(
                f"verdict, comparison or execution has no field {error}; write it anew with "
                "worst_case_check"
            ) from error

    @property
    def touched(self) -> tuple[Mapping[str, Any], ...]:
        """Obligations that a release touches."""
        return tuple(each for each in self.obligations if each["touched"])

    def hashes(self, trial: Mapping[str, Any]) -> dict[str, Any]:
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

    def _content(self) -> dict[str, Any]:
        earlier = self.execution_hash is None
        return {
            "schema_version": _WITHOUT_EXECUTION_HASH if earlier else DECISION_SCHEMA_VERSION,
            **({} if earlier else {"execution_hash": self.execution_hash}),
            "decision": str(self.outcome),
            "verdict": self.verdict,
            "comparison": self.comparison,
            "execution": self.execution,
            "reasons": [dict(reason) for reason in self.reasons],
            "candidate": self.candidate.to_json(),
            "verdict_hash": self.verdict_hash,
            "comparison_hash": self.comparison_hash,
            "policy_hash": self.policy_hash,
            "champion": None if self.champion is None else dict(self.champion),
            "obligations": [dict(obligation) for obligation in self.obligations],
            "environment": self.environment,
        }

    @property
    def hash(self) -> str:
        """Canonical hash of everything else: the name by which a release knows this decision."""
        return canonical_hash(self._content())

    def to_json(self) -> dict[str, Any]:
        """Return the content of ``decision.json``."""
        return {**self._content(), "decision_hash": self.hash}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Decision":
        """Read a decision and check its seal.

        Raises:
            InputError: if the schema version is unknown, a field is missing or unknown, or the
                content does not match ``decision_hash``.
        """
        version = content.get("schema_version")
        if version not in (_WITHOUT_EXECUTION_HASH, DECISION_SCHEMA_VERSION):
            raise InputError(
                f"the decision has schema version {version}; this version reads "
                f"{DECISION_SCHEMA_VERSION}: decide anew with the promotion pipeline"
            )
        try:
            decision = cls(
                outcome=Outcome(content["decision"]),
                verdict=content["verdict"],
                comparison=content["comparison"],
                execution=content["execution"],
                reasons=tuple(content["reasons"]),
                candidate=DecisionCandidate(**content["candidate"]),
                verdict_hash=content["verdict_hash"],
                comparison_hash=content["comparison_hash"],
                policy_hash=content["policy_hash"],
                environment=content["environment"],
                champion=content["champion"],
                obligations=tuple(content["obligations"]),
                execution_hash=(
                    None if version == _WITHOUT_EXECUTION_HASH else content["execution_hash"]
                ),
            )
            seal = content["decision_hash"]
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"the decision is incomplete or damaged ({error}); decide anew with the "
                "promotion pipeline"
            ) from error
        if decision.to_json() != dict(content) or decision.hash != seal:
            raise InputError(
                f"the decision does not match its hash {seal}: it was edited after it was "
                "written; decide anew with the promotion pipeline"
            )
        results = (decision.verdict, decision.comparison, decision.execution)
        if combined_outcome(*results) is not decision.outcome:
            raise InputError(
                f"the decision says '{decision.outcome}' but its verdict is {results[0]}, its "
                f"comparison {results[1]} and its execution {results[2]}; decide anew with "
                "the promotion pipeline"
            )
        return decision
