"""The candidate against the version that serves today, on the same images.

It is the candidate's own test with the champion in the place of the float model: PASS needs every
judged cell to be shown to lose less than the tolerance, FAIL needs one shown to lose more, at a
level that holds for all cells together.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from ptq_pipeline.errors import InputError
from ptq_pipeline.reliability.baseline import Baseline, audit_hash
from ptq_pipeline.reliability.candidate import find_candidate
from ptq_pipeline.reliability.cells import build_cells, collect_counts
from ptq_pipeline.reliability.clusters import ClusteredAudit
from ptq_pipeline.reliability.groups import Groups
from ptq_pipeline.reliability.outcomes import score
from ptq_pipeline.reliability.policy import Policy
from ptq_pipeline.reliability.reasons import Reason
from ptq_pipeline.reliability.sentences import Sentence, cell_value, say
from ptq_pipeline.reliability.unjudged import unjudged_groups

COMPARISON_SCHEMA_VERSION = 1
ComparisonResult = Literal["PASS", "FAIL", "INCONCLUSIVE", "NONE"]


@dataclass(frozen=True)
class Comparison:
    """What the comparison found.

    Attributes:
        result: PASS, FAIL or INCONCLUSIVE; NONE when nothing serves yet.
        champion: Version and decision that it was compared with; None for nothing.
        reasons: Why it is not PASS.
        not_compared: Shifts that the champion never answered, or answered with other options.
        cells: Per compared group and shift: n, both accuracies, loss, limit, flips and status.
    """

    result: ComparisonResult
    champion: Mapping[str, str | None] | None
    reasons: tuple[Reason, ...] = ()
    not_compared: tuple[str, ...] = ()
    cells: tuple[Mapping[str, Any], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The content of ``champion_comparison.json``."""
        return {
            "schema_version": COMPARISON_SCHEMA_VERSION,
            "result": self.result,
            "champion": None if self.champion is None else dict(self.champion),
            "reasons": [reason.to_json() for reason in self.reasons],
            "not_compared": list(self.not_compared),
            "cells": [dict(cell) for cell in self.cells],
        }


def candidate_baseline(
    trial_id: str | None,
    predictions: pd.DataFrame,
    audit: pd.DataFrame,
    shifts: Mapping[str, Mapping[str, Any]],
    cells: Collection[Mapping[str, Any]],
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
                f"shift '{shift}'; run the pipeline 'quantization' anew"
            )
        answers[shift] = found.to_numpy(dtype=np.int64)
    groups = tuple(
        {
            **{key: cell[key] for key in ("level", "group", "shift", "n", "drop")},
            "accuracy": cell["quantized_accuracy"],
        }
        for cell in cells
    )
    return Baseline(
        trial_id=trial_id,
        audit_hash=audit_hash(audit["content_hash"]),
        shifts=shifts,
        answers=answers,
        groups=groups,
    )


def compare_with_champion(
    champion: Baseline,
    candidate: Baseline,
    groups: Groups,
    policy: Policy,
    samples: pd.DataFrame | None = None,
) -> Comparison:
    """Compare two models on the same audit images.

    Args:
        champion: What serves today.
        candidate: What would serve.
        groups: Groups of the audit images, in the order of the answers.
        policy: Tolerance and errors.
        samples: The audit samples, for tests that respect their clusters; None where every sample
            stands alone.

    Returns:
        The comparison; a shift that the champion has not answered is listed, not judged.
    """
    if not champion.serves:
        return Comparison("NONE", None)
    if not candidate.serves:
        return _open(champion, say("champion.no_candidate"))
    if champion.audit_hash != candidate.audit_hash:
        return _open(champion, say("champion.other_images", version=champion.version))
    shared = [
        name
        for name, options in candidate.shifts.items()
        if name in champion.answers and champion.shifts.get(name) == options
    ]
    missing = tuple(name for name in candidate.shifts if name not in shared)
    if not shared:
        return _open(champion, say("champion.no_shift", version=champion.version), missing)
    return _judge(champion, candidate, groups, policy, shared, missing, samples)


def _open(champion: Baseline, sentence: Sentence, missing: tuple[str, ...] = ()) -> Comparison:
    reason = Reason("champion.not_comparable", "candidate", sentence)
    return Comparison("INCONCLUSIVE", champion.champion, (reason,), missing)


def _judge(
    champion: Baseline,
    candidate: Baseline,
    groups: Groups,
    policy: Policy,
    shifts: list[str],
    missing: tuple[str, ...],
    samples: pd.DataFrame | None,
) -> Comparison:
    tolerance = policy.champion_tolerance or policy.limits
    policy = policy.model_copy(update={"limits": tolerance, "critical": ()})
    trial = str(candidate.trial_id)
    trials = pd.DataFrame(
        [{"trial_id": trial, "set_id": "", "strategy": "", "role": "evidence", "draw": 0}]
    ).assign(status="done")
    before = _table(champion, groups, shifts)
    after = _table(candidate, groups, shifts).assign(trial_id=trial)
    scores = score(after, before, groups, trials)
    clusters = None if samples is None else ClusteredAudit(samples, groups, after, before)
    sizes = {} if clusters is None else clusters.sizes
    cells = build_cells(scores, policy, policy.alpha, sizes, sizes)
    audit = collect_counts(scores, cells, [trial], "audit")
    if clusters is not None:
        audit = replace(audit, clusters=clusters.outcomes(cells, [trial]))
    missing_groups = [
        each
        for each in unjudged_groups(cells, policy, policy.alpha, sizes=groups.sizes())
        if each.blocks
    ]
    # There is one candidate, so the choice among trials is none.
    found = find_candidate(audit, audit, cells, policy, blocked=bool(missing_groups))
    if found is None:
        raise InputError("the candidate has no scores; run the pipeline 'quantization' anew")
    records, reasons = [], []
    for i, status in enumerate(found.outcome.status):
        accuracy, loss = float(audit.float_accuracy[i]), float(audit.drop[0, i])
        records.append(
            {
                "level": cells.level[i],
                "group": cells.group[i],
                "shift": cells.shift[i],
                "n": int(cells.n[i]),
                "champion_accuracy": accuracy,
                "candidate_accuracy": accuracy - loss,
                "loss": loss,
                "interval": list(found.interval(i)),
                "lost": int(audit.lost[0, i]),
                "gained": int(audit.gained[0, i]),
                "flips": int(audit.flips[0, i]),
                "tolerance": float(cells.limit[i]),
                "judged": bool(found.outcome.judged[i]),
                "status": status,
            }
        )
        if status in ("shown_bad", "open"):
            reasons.append(_reason(records[-1], champion.version))
    if not cells.judged.any():
        sentence = say("champion.nothing_judged")
        reasons.append(Reason("champion.not_comparable", "candidate", sentence))
    reasons += [
        each.reason("champion.not_judged", "candidate", version=champion.version)
        for each in missing_groups
    ]
    reasons.sort(key=lambda reason: (reason.rule != "champion.shown_bad", -_excess(reason)))
    result = found.outcome.result
    return Comparison(result, champion.champion, tuple(reasons), missing, tuple(records))


def _table(baseline: Baseline, groups: Groups, shifts: list[str]) -> pd.DataFrame:
    parts = [
        pd.DataFrame(
            {"shift": shift, "sample_id": groups.sample_ids, "predicted": baseline.answers[shift]}
        )
        for shift in shifts
    ]
    return pd.concat(parts, ignore_index=True)


def _reason(cell: Mapping[str, Any], version: str | None) -> Reason:
    bad = cell["status"] == "shown_bad"
    return Reason(
        "champion.shown_bad" if bad else "champion.limit",
        "candidate",
        say(
            "champion.shown_bad" if bad else "champion.open",
            version=version,
            cell=cell_value(cell["level"], cell["group"], cell["shift"]),
            limit=cell["tolerance"],
            drop=cell["loss"],
            n=cell["n"],
        ),
        level=cell["level"],
        group=cell["group"],
        shift=cell["shift"],
        observed=cell["loss"],
        interval=(cell["interval"][0], cell["interval"][1]),
        limit=cell["tolerance"],
        n=cell["n"],
    )


def _excess(reason: Reason) -> float:
    return (reason.observed or 0.0) / (reason.limit or 1.0)
