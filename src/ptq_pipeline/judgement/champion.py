"""What serves today, and the candidate against it on the same images.

The baseline keeps each answer of the champion, not only the drop of each group, small enough to be
in git. So a candidate is compared *paired*: on the same images, where only answers that differ
count, and groups may change between the two audits. The comparison is the candidate's own test with
the champion in the place of the float model: PASS needs every judged cell to be shown to lose less
than the tolerance, FAIL needs one shown to lose more, at a level that holds for all cells together.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Collection, Iterable, Mapping
from typing import Annotated, Any, ClassVar, Final, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SkipValidation,
)

from ptq_pipeline.core.documents import READING, Document, SealedDocument
from ptq_pipeline.core.errors import InputError, first_fault
from ptq_pipeline.core.group_ids import CellDocument
from ptq_pipeline.core.groups import Groups
from ptq_pipeline.core.outcomes import Outcomes, tally
from ptq_pipeline.judgement.candidate import Choice, ComparedCell, JudgedCell, judge_candidate
from ptq_pipeline.judgement.cells import build_cells, collect_counts
from ptq_pipeline.judgement.judged_groups import unjudged_groups
from ptq_pipeline.judgement.policy import Policy
from ptq_pipeline.judgement.sentences import BesideResult, Reason, Sentence, say

COMPARISON_SCHEMA_VERSION: Final = 1
CHAMPION_FILE = "champion_baseline.json"
BASELINE_SCHEMA_VERSION: Final = 2
UNSEALED_VERSION = 1
# Types of the answers in the file, the narrowest that holds all of them.
PACKED = ("uint8", "<u2", "<u4")
WAY_OUT = (
    "restore it from git, or run `kedro ptq recover` where the registry is, which writes it again"
)


def _packed(answers: NDArray[np.int64]) -> dict[str, Any]:
    """Bytes as base64, no compression: its output differs between versions of the library."""
    largest = answers.max(initial=0)
    kind = next(each for each in PACKED if largest <= np.iinfo(each).max)
    raw = answers.astype(kind).tobytes()
    return {"dtype": kind, "n": int(answers.size), "data": base64.b64encode(raw).decode()}


def _unpacked(part: Any) -> NDArray[np.int64]:
    if isinstance(part, np.ndarray):
        return part.astype(np.int64)
    if not isinstance(part, Mapping) or not isinstance(part.get("data"), str):
        raise ValueError("no packed answers")
    if part.get("dtype") not in PACKED:
        raise ValueError(f"unknown type of answers '{part.get('dtype')}'")
    raw = base64.b64decode(part["data"], validate=True)
    answers = np.frombuffer(raw, dtype=part["dtype"]).astype(np.int64)
    if answers.size != part.get("n"):
        raise ValueError(f"{answers.size} answers instead of {part.get('n')}")
    return answers


Answers = Annotated[
    SkipValidation[NDArray[np.int64]], BeforeValidator(_unpacked), PlainSerializer(_packed)
]


class ChampionName(Document):
    """What a decision says it was compared with."""

    version: str | None
    decision_hash: str | None


class GroupFigures(CellDocument):
    """One cell for people: accuracy and drop against the float model, fractions."""

    n: int
    drop: float
    accuracy: float


class LogHead(Document):
    """How long the registry's log was, and the hash of its last record; None where it had none."""

    records: int = 0
    head: str | None = None


class Baseline(SealedDocument):
    """Answers of one quantized model on the audit images.

    Attributes:
        version: The registry's name of the model; None for a candidate that is not released, and
            for the empty baseline.
        trial_id: The trial whose answers these are; None when nothing serves yet.
        audit_hash: Hash of the audit images in the order of the answers.
        shifts: Options of every shift.
        answers: Class index per audit image, by shift, int64, shape (samples,).
        groups: What people read.
        sealed: Whether the file carried its own hash; those of earlier releases did not.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)
    seal: ClassVar[str] = "baseline_hash"
    called: ClassVar[str] = CHAMPION_FILE
    way_out: ClassVar[str] = WAY_OUT

    schema_version: Literal[2] = BASELINE_SCHEMA_VERSION
    version: str | None = None
    decision_hash: str | None = None
    trial_id: str | None = None
    audit_hash: str | None = None
    shifts: dict[str, dict[str, Any]] = Field(default_factory=dict)
    answers: dict[str, Answers] = Field(default_factory=dict)
    groups: tuple[GroupFigures, ...] = ()
    log: LogHead = LogHead()
    sealed: bool = Field(default=True, exclude=True)

    @property
    def serves(self) -> bool:
        """Whether there is a model at all."""
        return self.trial_id is not None

    @property
    def champion(self) -> ChampionName | None:
        """What a decision says it was compared with; None for nothing."""
        if not self.serves:
            return None
        return ChampionName(version=self.version, decision_hash=self.decision_hash)

    def served_as(self, version: str, decision_hash: str) -> Baseline:
        """Return the baseline of this model once it serves."""
        return self.model_copy(update={"version": version, "decision_hash": decision_hash})

    def at(self, records: int, head: str | None) -> Baseline:
        """Return it with the length and the head of the registry's log."""
        return self.model_copy(update={"log": LogHead(records=records, head=head), "sealed": True})

    @classmethod
    def from_json(cls, content: Mapping[str, Any], name: str = CHAMPION_FILE) -> Baseline:
        """Read a baseline from the file ``name`` and check its hash.

        Raises:
            InputError: If it is of another schema version, incomplete, damaged or edited.
        """
        version = content.get("schema_version") if isinstance(content, Mapping) else None
        if version not in (UNSEALED_VERSION, BASELINE_SCHEMA_VERSION):
            raise InputError(
                f"'{name}' has schema version {version}; this release reads "
                f"{BASELINE_SCHEMA_VERSION}: {WAY_OUT}"
            )
        sealed = version != UNSEALED_VERSION
        said = {key: value for key, value in content.items() if key != cls.seal} | {
            "sealed": sealed
        }
        if not sealed:
            said |= {"schema_version": BASELINE_SCHEMA_VERSION, "log": LogHead().to_json()}
        try:
            found = cls.model_validate(said, context=READING)
            if missing := set(cls.model_fields) - set(said):
                raise ValueError(f"{min(missing)} is missing")
        except ValueError as error:
            complaint = first_fault(error)
            raise InputError(
                f"'{name}' is incomplete or damaged ({complaint}): {WAY_OUT}"
            ) from error
        if sealed and found.to_json() != dict(content):
            raise InputError(
                f"'{name}' does not match its hash: it was edited after it was written: {WAY_OUT}"
            )
        return found


def audit_hash(content_hashes: Iterable[str]) -> str:
    """Hash of images in their order; ids and labels may change without making it another one."""
    return hashlib.sha256("".join(f"{value}\n" for value in content_hashes).encode()).hexdigest()


class Comparison(Document):
    """What the comparison found, ``champion_comparison.json``.

    Attributes:
        result: NONE when nothing serves yet.
        not_compared: Shifts that the champion never answered, or answered with other options.
        candidate_baseline: Hash of the candidate's answers, so that nobody puts others into the
            next champion's baseline; candidates of earlier releases had none.
    """

    called: ClassVar[str] = "the comparison with the champion"
    way_out: ClassVar[str] = "write it again with worst_case_check"

    schema_version: Literal[1] = COMPARISON_SCHEMA_VERSION
    result: BesideResult
    champion: ChampionName | None
    reasons: tuple[Reason, ...] = ()
    not_compared: tuple[str, ...] = ()
    cells: tuple[ComparedCell, ...] = ()
    candidate_baseline: str | None = None


def candidate_baseline(
    trial_id: str | None,
    predictions: pd.DataFrame,
    audit: pd.DataFrame,
    shifts: Mapping[str, Mapping[str, Any]],
    cells: Collection[JudgedCell],
) -> Baseline:
    """Gather the answers of one trial on the audit images; without a trial it is empty.

    Args:
        trial_id: The trial, or None.
        predictions: ``trial_id``, ``shift``, ``sample_id``, ``predicted``.
        audit: ``sample_id`` and ``content_hash`` of the audit images.
        shifts: Name and options of every shift.
        cells: The candidate's cells of the verdict.

    Raises:
        InputError: If the trial did not answer every audit image under every shift.
    """
    if trial_id is None:
        return Baseline()
    audit = audit.sort_values("sample_id")
    own = predictions[predictions["trial_id"] == trial_id]
    answers = {}
    for shift in shifts:
        answered = own[own["shift"] == shift].set_index("sample_id")["predicted"]
        found = answered.reindex(audit["sample_id"])
        if missing := int(found.isna().sum()):
            raise InputError(
                f"predictions: trial '{trial_id}' has no answer for {missing} audit images under "
                f"shift '{shift}'; run the pipeline 'quantization' again"
            )
        answers[shift] = found.to_numpy(dtype=np.int64)
    return Baseline(
        trial_id=trial_id,
        audit_hash=audit_hash(audit["content_hash"]),
        shifts={name: dict(options) for name, options in shifts.items()},
        answers=answers,
        groups=tuple(
            GroupFigures(
                **cell.key._asdict(), n=cell.n, drop=cell.drop, accuracy=cell.quantized_accuracy
            )
            for cell in cells
        ),
    )


def compare_with_champion(
    champion: Baseline, candidate: Baseline, groups: Groups, policy: Policy
) -> Comparison:
    """Compare what would serve with what serves today, on the same audit images.

    ``groups`` are those of the audit images, in the order of the answers. A shift that the champion
    has not answered is listed, not judged.
    """
    if not champion.serves:
        return Comparison(result="NONE", champion=None)
    if not candidate.serves:
        return _open(champion, say("champion.no_candidate"))
    if champion.audit_hash != candidate.audit_hash:
        return _open(champion, say("champion.other_images", version=champion.version))
    shared = {
        name: candidate.answers[name]
        for name, options in candidate.shifts.items()
        if name in champion.answers and champion.shifts.get(name) == options
    }
    missing = tuple(name for name in candidate.shifts if name not in shared)
    if not shared:
        return _open(champion, say("champion.no_shift", version=champion.version), missing)
    trial = str(candidate.trial_id)
    outcomes = Outcomes.of_one(trial, shared, champion.answers, groups)
    return _judge(champion, outcomes, policy, missing)


def _open(champion: Baseline, sentence: Sentence, missing: tuple[str, ...] = ()) -> Comparison:
    reason = Reason.of("champion.not_comparable", "candidate", sentence)
    return Comparison(
        result="INCONCLUSIVE",
        champion=champion.champion,
        reasons=(reason,),
        not_compared=missing,
    )


def _judge(
    champion: Baseline, outcomes: Outcomes, policy: Policy, missing: tuple[str, ...]
) -> Comparison:
    tolerance = policy.champion_tolerance or policy.limits
    policy = policy.model_copy(update={"limits": tolerance, "critical": ()})
    groups, scores = outcomes.groups, tally(outcomes)
    cells = build_cells(scores, policy, policy.alpha, groups.cluster_sizes)
    audit = collect_counts(scores, cells, outcomes.trial_ids, "audit").by_cluster(outcomes, cells)
    unjudged = unjudged_groups(cells, policy, policy.alpha, sizes=groups.sizes())
    blocking = [each for each in unjudged if each.blocks]
    # There is one candidate, so there is nothing to choose among.
    choice = Choice(outcomes.trial_ids[0])
    found = judge_candidate(audit, cells, choice, policy, blocked=bool(blocking))
    records = tuple(found.cell(ComparedCell, i) for i in range(len(cells)))
    version = champion.version
    undecided = [cell for cell in records if cell.status in ("shown_bad", "open")]
    reasons = [cell.reason("champion", version=version) for cell in undecided]
    if not cells.judged.any():
        sentence = say("champion.nothing_judged")
        reasons.append(Reason.of("champion.not_comparable", "candidate", sentence))
    reasons += [
        each.reason("champion.not_judged", "candidate", version=version) for each in blocking
    ]
    reasons.sort(key=lambda reason: (reason.rule != "champion.shown_bad", -_excess(reason)))
    return Comparison(
        result=found.result,
        champion=champion.champion,
        reasons=tuple(reasons),
        not_compared=missing,
        cells=records,
    )


def _excess(reason: Reason) -> float:
    return (reason.observed or 0.0) / (reason.limit or 1.0)
