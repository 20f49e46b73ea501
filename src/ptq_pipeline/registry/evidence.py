"""What a decision rests on, and whether it still follows from it.

A decision carries the hashes of verdict, comparison, execution and files. Whoever acts on it holds
each of them against its hash and decides once more: a decision that was edited, with a hash that
fits, follows from nothing.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from ptq_pipeline.core.canonical import canonical_hash
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.judgement import Baseline, Comparison, Verdict, touched_obligations
from ptq_pipeline.judgement.decision import Decision, Execution
from ptq_pipeline.registry.baseline import BASELINE_FILE

VERDICT_FILE = "verdict.json"
COMPARISON_FILE = "champion_comparison.json"
EXECUTION_FILE = "candidate_execution.json"
WAY_OUT = "restore it (`dvc pull`, or git), or run worst_case_check and promotion again"


@dataclass(frozen=True)
class Evidence:
    """Everything that a decision follows from.

    Attributes:
        verdict: content of ``verdict.json``.
        comparison: content of ``champion_comparison.json``.
        execution: content of ``candidate_execution.json``.
        files: every file of the candidate by its name, without the index.
    """

    verdict: Mapping[str, Any]
    comparison: Mapping[str, Any]
    execution: Mapping[str, Any]
    files: Mapping[str, bytes]

    @classmethod
    def of_files(cls, files: Mapping[str, bytes]) -> "Evidence":
        """Return what the candidate's own copies say.

        Raises:
            InputError: a copy is missing, as in candidates of earlier releases, or damaged.
        """
        parts = []
        for name in (VERDICT_FILE, COMPARISON_FILE, EXECUTION_FILE):
            if name not in files:
                raise InputError(
                    f"candidate file '{name}' is not the one of the decision (missing): {WAY_OUT}"
                )
            parts.append(_parsed(name, files[name]))
        verdict, comparison, execution = parts
        return cls(verdict, comparison, execution, files)

    def decide(self, environment: str) -> Decision:
        """Decide by verdict, comparison and execution alone.

        Raises:
            InputError: one of them has another schema version or lacks a field.
        """
        verdict, comparison = Verdict.read(self.verdict), Comparison.read(self.comparison)
        return Decision.of(
            verdict,
            {name: sha256(content).hexdigest() for name, content in sorted(self.files.items())},
            environment,
            comparison=comparison,
            execution=Execution.read(self.execution),
            obligations=touched_obligations(
                verdict.policy, verdict.candidate.cells, comparison.cells
            ),
        )

    def check(self, content: Mapping[str, Any]) -> Decision:
        """Return a decision that follows from this.

        Args:
            content: content of ``decision.json``.

        Raises:
            InputError: naming the file that is not the one of the decision, or saying that the
                decision does not follow from what it names.
        """
        decision = Decision.from_json(content)
        check_part(VERDICT_FILE, self.verdict, decision.verdict_hash)
        check_part(COMPARISON_FILE, self.comparison, decision.comparison_hash)
        check_part(EXECUTION_FILE, self.execution, decision.execution_hash)
        check_files(decision, self.files)
        self._check_copies()
        if self.decide(decision.environment).to_json() != dict(content):
            raise InputError(
                "decision.json does not follow from its verdict, comparison and execution: it was "
                "edited, or made by another version of this package; run the pipeline 'promotion' "
                "again"
            )
        return decision

    def _check_copies(self) -> None:
        for name, original in (
            (VERDICT_FILE, self.verdict),
            (COMPARISON_FILE, self.comparison),
            (EXECUTION_FILE, self.execution),
        ):
            if name in self.files and canonical_hash(_parsed(name, self.files[name])) != (
                canonical_hash(dict(original))
            ):
                raise InputError(
                    f"the candidate's copy of '{name}' is another one; run the pipeline "
                    "'promotion' again"
                )
        expected = self.comparison.get("candidate_baseline")
        if BASELINE_FILE in self.files and expected is not None:
            found = Baseline.from_json(
                _parsed(BASELINE_FILE, self.files[BASELINE_FILE]), BASELINE_FILE
            )
            if found.hash != expected:
                raise InputError(
                    f"the candidate's '{BASELINE_FILE}' does not hold the answers that were "
                    f"compared ({found.hash[:16]}): run worst_case_check and promotion again"
                )


def check_part(name: str, content: Mapping[str, Any], expected: str | None) -> None:
    """Check that a file beside a decision is the one that it names.

    Raises:
        InputError: it is another one.
    """
    found = canonical_hash(dict(content))
    if found != expected:
        raise InputError(
            f"'{name}' is not the one that the decision rests on ({found[:16]} instead of "
            f"{str(expected)[:16]}): it was edited, or another run wrote it; {WAY_OUT}"
        )


def check_files(decision: Decision, files: Mapping[str, bytes]) -> None:
    """Check that the candidate's files are those of the decision.

    Raises:
        InputError: naming the first that is missing, added or changed.
    """
    expected = decision.candidate.files
    for name in sorted({*expected, *files}):
        found = sha256(files[name]).hexdigest() if name in files else "missing"
        if expected.get(name) != found:
            raise InputError(
                f"candidate file '{name}' is not the one of the decision ({found}): {WAY_OUT}"
            )


def _parsed(name: str, content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError as error:
        raise InputError(f"the candidate's '{name}' is damaged ({error}): {WAY_OUT}") from error
