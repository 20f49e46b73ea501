"""The candidate against the version that serves today, on the same images.

It is the candidate's own test with the champion in the place of the float model: PASS needs every
judged cell to be shown to lose less than the tolerance, FAIL needs one shown to lose more, at a
level that holds for all cells together.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, ClassVar, Final, Literal

import numpy as np
import pandas as pd

from ptq_pipeline.core.documents import Document
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.groups import Groups
from ptq_pipeline.core.outcomes import Outcomes, tally
from ptq_pipeline.judgement.baseline import Baseline, ChampionName, GroupFigures, audit_hash
from ptq_pipeline.judgement.candidate import Choice, ComparedCell, JudgedCell, judge_candidate
from ptq_pipeline.judgement.cells import build_cells, collect_counts
from ptq_pipeline.judgement.clusters import cluster_outcomes
from ptq_pipeline.judgement.policy import Policy
from ptq_pipeline.judgement.reasons import Reason
from ptq_pipeline.judgement.sentences import Sentence, place_value, say
from ptq_pipeline.judgement.unjudged import unjudged_groups

COMPARISON_SCHEMA_VERSION: Final = 1


class Comparison(Document):
    """What the comparison found, ``champion_comparison.json``.

    Attributes:
        result: PASS, FAIL or INCONCLUSIVE; NONE when nothing serves yet.
        champion: Version and decision that it was compared with; None for nothing.
        reasons: Why it is not PASS.
        not_compared: Shifts that the champion never answered, or answered with other options.
        cells: Per compared group and shift: n, both accuracies, loss, limit, flips and status.
        candidate_baseline: Hash of the candidate's answers, so that nobody puts others into the
            next champion's baseline; candidates of earlier releases had none.
    """

    called: ClassVar[str] = "the comparison with the champion"
    way_out: ClassVar[str] = "write it again with worst_case_check"

    schema_version: Literal[1] = COMPARISON_SCHEMA_VERSION
    result: Literal["PASS", "FAIL", "INCONCLUSIVE", "NONE"]
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
    """Gather the answers of one trial on the audit images.

    Args:
        trial_id: The trial; None gives the empty baseline.
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
    """Compare two models on the same audit images.

    Args:
        champion: What serves today.
        candidate: What would serve.
        groups: Groups of the audit images, in the order of the answers.
        policy: Tolerance and errors.

    Returns:
        The comparison; a shift that the champion has not answered is listed, not judged.
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
    groups, trials = outcomes.groups, list(outcomes.trial_ids)
    scores = tally(outcomes)
    cells = build_cells(scores, policy, policy.alpha, groups.cluster_sizes)
    audit = collect_counts(scores, cells, trials, "audit")
    audit = replace(audit, clusters=cluster_outcomes(outcomes, cells, trials))
    unjudged = unjudged_groups(cells, policy, policy.alpha, sizes=groups.sizes())
    blocking = [each for each in unjudged if each.blocks]
    # There is one candidate, so the choice among trials is none.
    choice = Choice(trials[0], float("nan"))
    found = judge_candidate(audit, cells, choice, policy, blocked=bool(blocking))
    records = tuple(ComparedCell.model_validate(each) for each in found.measured())
    version = champion.version
    reasons = [_reason(cell, version) for cell in records if cell.status in ("shown_bad", "open")]
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


def _reason(cell: ComparedCell, version: str | None) -> Reason:
    bad = cell.status == "shown_bad"
    sentence = say(
        "champion.shown_bad" if bad else "champion.open",
        version=version,
        cell=place_value(cell.key),
        limit=cell.limit,
        drop=cell.drop,
        n=cell.n,
    )
    return Reason.of(
        "champion.shown_bad" if bad else "champion.limit",
        "candidate",
        sentence,
        cell.key,
        observed=cell.drop,
        interval=cell.interval,
        limit=cell.limit,
        n=cell.n,
    )


def _excess(reason: Reason) -> float:
    return (reason.observed or 0.0) / (reason.limit or 1.0)
