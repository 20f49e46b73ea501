"""What a decision rests on, and whether it still follows from it: before a release, and ever after.

A decision carries the hashes of verdict, comparison, execution and files. Whoever acts on it holds
each of them against its hash and decides once more: a decision that was edited, with a hash that
fits, follows from nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from ptq_pipeline.core.canonical import canonical_hash
from ptq_pipeline.core.documents import Document
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.names import DECISION_FILE, TRIAL_FILE, VERDICT_FILE
from ptq_pipeline.judgement.baseline import Baseline
from ptq_pipeline.judgement.champion import Comparison
from ptq_pipeline.judgement.decision import Decision, Execution, touched_obligations
from ptq_pipeline.judgement.verdict import Verdict
from ptq_pipeline.registry.records import Record, VerificationError
from ptq_pipeline.registry.store import ANSWERS_FILE, CARD_FILE, RECORD_FILE

COMPARISON_FILE = "champion_comparison.json"
EXECUTION_FILE = "candidate_execution.json"
INDEX_FILE = "candidate.json"
WAY_OUT = "restore it (`dvc pull`, or git), or run worst_case_check and promotion again"


def rests_on(decision: Decision) -> dict[str, str | None]:
    """Return the hash of each file that a decision rests on; None where it names none."""
    return {
        VERDICT_FILE: decision.verdict_hash,
        COMPARISON_FILE: decision.comparison_hash,
        EXECUTION_FILE: decision.execution_hash,
    }


def candidate_files(paths: Mapping[str, Path]) -> dict[str, bytes]:
    """Read the candidate's files, without their index."""
    return {name: path.read_bytes() for name, path in paths.items() if name != INDEX_FILE}


@dataclass(frozen=True)
class Evidence:
    """The three documents that a decision follows from, and all files of the candidate."""

    verdict: Verdict
    comparison: Comparison
    execution: Execution
    files: Mapping[str, bytes]

    @classmethod
    def of_files(cls, files: Mapping[str, bytes]) -> Evidence:
        """Return what the candidate's own copies say.

        Raises:
            InputError: a copy is missing, as in candidates of earlier releases, or damaged.
        """
        names = (VERDICT_FILE, COMPARISON_FILE, EXECUTION_FILE)
        for name in names:
            if name not in files:
                raise _not_of_the_decision(name, "missing")
        verdict, comparison, execution = (_parsed(name, files[name]) for name in names)
        return cls(
            Verdict.read(verdict), Comparison.read(comparison), Execution.read(execution), files
        )

    def decide(self, environment: str) -> Decision:
        """Decide by verdict, comparison and execution alone."""
        verdict, comparison = self.verdict, self.comparison
        return Decision.of(
            verdict,
            {name: sha256(content).hexdigest() for name, content in sorted(self.files.items())},
            environment,
            comparison=comparison,
            execution=self.execution,
            obligations=touched_obligations(
                verdict.policy, verdict.candidate.cells, comparison.cells
            ),
        )

    def check(self, decision: Decision) -> None:
        """Check that a decision follows from this.

        Raises:
            InputError: naming the file that is not the one of the decision, or saying that the
                decision does not follow from what it names.
        """
        parts = (self.verdict, self.comparison, self.execution)
        for part, (name, expected) in zip(parts, rests_on(decision).items(), strict=True):
            check_part(name, part, expected)
        expected_files = decision.candidate.files
        for name in sorted({*expected_files, *self.files}):
            found = sha256(self.files[name]).hexdigest() if name in self.files else "missing"
            if expected_files.get(name) != found:
                raise _not_of_the_decision(name, found)
        self._check_copies(decision)
        if self.decide(decision.environment).to_json() != decision.to_json():
            raise InputError(
                "decision.json does not follow from its verdict, comparison and execution: it was "
                "edited, or made by another version of this package; run the pipeline 'promotion' "
                "again"
            )

    def _check_copies(self, decision: Decision) -> None:
        """Check the copies among the candidate's files, and the answers that were compared."""
        for name, expected in rests_on(decision).items():
            if name in self.files and canonical_hash(_parsed(name, self.files[name])) != expected:
                raise InputError(
                    f"the candidate's copy of '{name}' is another one; run the pipeline "
                    "'promotion' again"
                )
        compared = self.comparison.candidate_baseline
        if ANSWERS_FILE in self.files and compared is not None:
            content = _parsed(ANSWERS_FILE, self.files[ANSWERS_FILE])
            found = Baseline.read(content, ANSWERS_FILE)
            if found.hash != compared:
                raise InputError(
                    f"the candidate's '{ANSWERS_FILE}' does not hold the answers that were "
                    f"compared ({found.hash[:16]}): run worst_case_check and promotion again"
                )


def check_part(name: str, part: Document, expected: str | None) -> None:
    """Check that a file beside a decision is the one that it names.

    Raises:
        InputError: it is another one.
    """
    found = part.hash
    if found != expected:
        raise InputError(
            f"'{name}' is not the one that the decision rests on ({found[:16]} instead of "
            f"{str(expected)[:16]}): it was edited, or another run wrote it; {WAY_OUT}"
        )


def check_version(folder: Path, promotion: Record) -> None:
    """Check every file of a promoted version against the record of its promotion.

    Raises:
        VerificationError: naming the first file that is missing, added or changed.
    """
    version, content = promotion.champion, promotion.content
    expected = dict(content["files"]) | ({CARD_FILE: content["card"]} if "card" in content else {})
    found = {
        path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()
    }
    for name in sorted({*expected, *found} - {DECISION_FILE, RECORD_FILE}):
        digest = sha256(found[name].read_bytes()).hexdigest() if name in found else "missing"
        if expected.get(name) != digest:
            raise VerificationError(
                f"version {version}: file '{folder / name}' is not the one that was promoted "
                f"({digest}); restore it from a backup, or roll back to another version"
            )
    try:
        decision = Decision.read(_content(folder, DECISION_FILE))
        same = {
            DECISION_FILE: decision.hash == content["decision_hash"],
            TRIAL_FILE: decision.origin(_content(folder, TRIAL_FILE)) == content["hashes"],
            RECORD_FILE: _content(folder, RECORD_FILE) == promotion.to_json(),
        }
        for name, then in rests_on(decision).items():
            # Versions of earlier releases hold a verdict only.
            if name in found or name == VERDICT_FILE:
                same[name] = canonical_hash(_content(folder, name)) == then
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise VerificationError(
            f"version {version}: '{folder}' is damaged ({error}); restore it from a backup, or "
            "roll back to another version"
        ) from error
    if wrong := [name for name, holds in same.items() if not holds]:
        raise VerificationError(
            f"version {version}: file '{folder / wrong[0]}' does not belong to its record; restore "
            "it from a backup"
        )


def _content(folder: Path, name: str) -> Any:
    return json.loads((folder / name).read_text("utf-8"))


def _parsed(name: str, content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError as error:
        raise InputError(f"the candidate's '{name}' is damaged ({error}): {WAY_OUT}") from error


def _not_of_the_decision(name: str, found: str) -> InputError:
    return InputError(
        f"candidate file '{name}' is not the one of the decision ({found}): {WAY_OUT}"
    )
