"""The candidate against what serves today, on the same images.

The baseline keeps each answer of the champion. So a candidate is compared *paired*: only answers
that differ count, and groups may change between the two audits. The comparison is the candidate's
own test with the champion in the place of the float model: PASS needs every judged cell to be shown
to lose less than the tolerance, FAIL needs one shown to lose more, at a level that holds for all
cells together.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, ClassVar, Final, Literal

import numpy as np
import pandas as pd

from ptq_pipeline.core.answers import UNANSWERED, FloatAnswers
from ptq_pipeline.core.documents import Document
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.groups import Groups
from ptq_pipeline.core.outcomes import Outcomes
from ptq_pipeline.core.tally import tally
from ptq_pipeline.judgement.baseline import Baseline, ChampionName, GroupFigures, audit_hash
from ptq_pipeline.judgement.candidate import Choice, ComparedCell, JudgedCell, judge_candidate
from ptq_pipeline.judgement.cells import build_cells, collect_counts
from ptq_pipeline.judgement.judged_groups import unjudged_groups
from ptq_pipeline.judgement.policy import Policy
from ptq_pipeline.judgement.sentences import BesideResult, Reason, Sentence, say

COMPARISON_SCHEMA_VERSION: Final = 1


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
    float_predictions: pd.DataFrame,
    *,
    audit: pd.DataFrame,
    shifts: Mapping[str, Mapping[str, Any]],
    cells: Collection[JudgedCell],
) -> Baseline:
    """Gather the answers of one trial on the audit images; without a trial it is empty.

    Args:
        trial_id: The trial, or None.
        predictions: Answers of all trials, see :mod:`.answers`.
        float_predictions: What they were written beside.
        audit: ``sample_id`` and ``content_hash`` of the audit images.
        shifts: Name and options of every shift.
        cells: The candidate's cells of the verdict.

    Raises:
        InputError: If the trial did not answer every audit image under every shift.
    """
    if trial_id is None:
        return Baseline()
    audit = audit.sort_values("sample_id")
    floats = FloatAnswers.of(float_predictions)
    given = floats.of_trial(predictions, trial_id, audit["sample_id"])
    answers = {}
    for shift in shifts:
        found = given.get(shift, np.full(len(audit), UNANSWERED))
        if missing := int((found == UNANSWERED).sum()):
            raise InputError(
                f"predictions: trial '{trial_id}' has no answer for {missing} audit images under "
                f"shift '{shift}'; run the pipeline 'quantization' again"
            )
        answers[shift] = found.astype(np.int64)
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
