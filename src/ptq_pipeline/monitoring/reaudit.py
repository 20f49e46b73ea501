"""Does the champion still hold on production images?

One artifact is judged, not a recipe: each group's paired drop against the float model is shown to
stay below its limit, shown to exceed it, or stays open, by the tests of the worst-case check.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import pandas as pd

from ptq_pipeline.core.group_ids import NAMED_LEVELS
from ptq_pipeline.core.groups import build_groups
from ptq_pipeline.core.names import CLEAN
from ptq_pipeline.core.outcomes import Outcomes, tally
from ptq_pipeline.judgement.cells import (
    Cells,
    Counts,
    build_cells,
    collect_counts,
    needed_samples,
)
from ptq_pipeline.judgement.judging import above_floor, cell_intervals, judge
from ptq_pipeline.judgement.planning import samples_to_show
from ptq_pipeline.judgement.policy import Policy

SCHEMA_VERSION = 1


class Holding(StrEnum):
    """What a re-audit found."""

    HOLDS = "HOLDS"
    FAILS = "FAILS"
    OPEN = "OPEN"


_HOLDING = {"PASS": Holding.HOLDS, "FAIL": Holding.FAILS, "INCONCLUSIVE": Holding.OPEN}


@dataclass(frozen=True, eq=False)
class Answers:
    """What two models say of the same images under each shift.

    Attributes:
        champion: top-1 classes by shift.
        float_model: likewise.
    """

    champion: Mapping[str, np.ndarray]
    float_model: Mapping[str, np.ndarray]


def reaudit(
    samples: pd.DataFrame,
    answers: Answers,
    definitions: Mapping[str, Any],
    policy: Policy,
    version: str,
    required: Collection[tuple[str, str]] = (),
) -> dict[str, Any]:
    """Judge the champion on the audit images of production.

    Without labels every answer that differs from the float model's counts as lost. That bounds the
    drop of the average and of each segment from above, so HOLDS stays a proof there; classes are
    then those that the float model names. FAILS becomes OPEN, for disagreement is no loss.

    Args:
        samples: ``sample_id``, ``split`` (all ``audit``), ``label`` (may be missing), segments;
            row by row the images that were answered.
        answers: of champion and float model.
        definitions: classes and segments.
        policy: limits and errors.
        version: the champion's name.
        required: level and name of groups that HOLDS must speak of where they occur; see
            `judged_in_audit`.

    Returns:
        ``result``, ``labelled``, ``n``, accuracy of the float model on clean images, one entry per
        cell, and ``too_small``: of what is open for lack of images, the group that is furthest
        from enough to show even a champion without a net drop to hold; None when more images are
        not what is missing.
    """
    labelled = bool(len(samples)) and bool(samples["label"].notna().all())
    clean = next(iter(answers.float_model.values()))
    truth = samples["label"] if labelled else pd.Series(clean, samples.index)
    samples = samples.assign(label=truth.astype(np.int64), split="audit")
    segments = {name: entry["names"] for name, entry in definitions["segments"].items()}
    groups = build_groups(samples, definitions["classes"], segments)
    order = np.argsort(samples["sample_id"].to_numpy(), kind="stable")
    champion, float_model = (
        {shift: np.asarray(given)[order] for shift, given in each.items()}
        for each in (answers.champion, answers.float_model)
    )
    scores = tally(Outcomes.of_one(version, champion, float_model, groups))
    cells = build_cells(scores, policy, policy.alpha)
    counts = collect_counts(scores, cells, [version], "audit")
    cells = above_floor(cells, counts, policy, len(definitions["classes"]))
    needed = cells.critical | np.array([key.of in required for key in cells.keys], bool)
    blocked = bool((needed & ~cells.judged).any())
    judged = judge(counts, cells, policy.alpha, policy.alpha_fail)
    result, status = _HOLDING[judged.result(blocked)], judged.status()
    intervals = cell_intervals(counts, cells, policy.alpha)
    right = (clean == samples["label"].to_numpy()).mean()
    return {
        "schema_version": SCHEMA_VERSION,
        "result": str(Holding.OPEN if result is Holding.FAILS and not labelled else result),
        "champion": version,
        "labelled": labelled,
        "n": len(samples) - groups.copies("audit"),
        "float_accuracy": float(right) if labelled else None,
        "policy_hash": policy.hash,
        "too_small": _too_small(cells, counts, status, needed, policy.alpha)
        if result is Holding.OPEN
        else None,
        "cells": [
            {
                **key._asdict(),
                "n": int(cells.n[i]),
                "drop": float(counts.drop[0, i]),
                "interval": [float(bound) for bound in intervals[i]],
                "flips": int(counts.flips[0, i]),
                "limit": float(cells.limit[i]),
                "status": status[i],
            }
            for i, key in enumerate(cells.keys)
        ],
    }


def judged_in_audit(
    samples: pd.DataFrame, definitions: Mapping[str, Any], policy: Policy
) -> frozenset[tuple[str, str]]:
    """Return level and name of the classes and segments that the audit had enough images to judge.

    A window that is too small for them cannot say that a champion still holds.

    Args:
        samples: the audit's ``split``, ``label`` and segments.
        definitions: classes and segments.
        policy: limits and errors.
    """
    segments = {name: entry["names"] for name, entry in definitions["segments"].items()}
    groups = build_groups(samples, definitions["classes"], segments, intersection_depth=1)
    return frozenset(
        key
        for key, n in groups.sizes("audit").items()
        if key[0] in NAMED_LEVELS
        and n >= needed_samples(policy.strictest_limit(*key, [CLEAN]), policy.alpha)
    )


def _too_small(
    cells: Cells, counts: Counts, status: tuple[str, ...], required: np.ndarray, alpha: float
) -> dict[str, Any] | None:
    """Return group, shift, size and about the size it would take, of the one that lacks most."""
    lacking = []
    for i, found in enumerate(status):
        unjudged = found == "not_judged" and (required[i] or cells.keys[i].level == "average")
        if found != "open" and not unjudged:
            continue
        n = int(cells.n[i])
        # Half an answer each way, so that rates never seen are not taken for zero.
        flips = (counts.flips[0, i] + 1) / (n + 1)
        needed = samples_to_show(float(flips), float(cells.limit[i]), alpha)
        if n < needed:
            lacking.append((n / needed, i, n, needed))
    if not lacking:
        return None
    _, i, n, needed = min(lacking)
    key = cells.keys[i]
    return {"group": key.group, "shift": key.shift, "n": n, "needed": needed}


def worst_cell(content: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the judged cell that uses most of its limit, or None."""
    judged = [cell for cell in content["cells"] if cell["status"] != "not_judged"]
    return max(judged, key=lambda cell: cell["drop"] / cell["limit"], default=None)
