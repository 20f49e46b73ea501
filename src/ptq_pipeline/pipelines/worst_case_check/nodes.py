"""Nodes of ``worst_case_check``."""

import logging
from collections import Counter
from dataclasses import replace
from typing import Any

import pandas as pd

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.group_ids import CellKey, GroupDefinitions
from ptq_pipeline.core.groups import Groups
from ptq_pipeline.core.plain_text import table_cell
from ptq_pipeline.core.units import finds_objects, units_of
from ptq_pipeline.judgement.baseline import Baseline
from ptq_pipeline.judgement.building import AuditSetting, build_verdict
from ptq_pipeline.judgement.business import Business
from ptq_pipeline.judgement.champion import Comparison, candidate_baseline, compare_with_champion
from ptq_pipeline.judgement.judged_groups import Representative, propose_representatives
from ptq_pipeline.judgement.judging import check_float_model
from ptq_pipeline.judgement.ledger import Ledger
from ptq_pipeline.judgement.openings import Opener, nothing_left
from ptq_pipeline.judgement.policy import Policy
from ptq_pipeline.judgement.verdict import JudgedDetector, Verdict
from ptq_pipeline.stress.shifts import StressParameters

NO_BUSINESS = Business()
MOST_CELLS = 20
log = logging.getLogger(__name__)
# Of points, in files that people read.
DIGITS = 4


def check_names(
    groups: Groups,
    parameters: Policy,
    stress: StressParameters,
    ledger: Ledger | None = None,
    profiles: pd.DataFrame | None = None,
    samples: pd.DataFrame | None = None,
) -> Policy:
    """Check that the policy names only groups and shifts that exist.

    It needs no score, so a policy with a wrong name is an error before any model is quantized, and
    so are a ledger that was edited and a float model near chance (``profiles`` hold its answers).
    That the ledger leaves too little for a PASS to what was not asked yet is a warning.

    Raises:
        InputError: Naming the unknown group or shift, the ledger's broken line, or the float
            model's accuracy.
    """
    if ledger is not None:
        ledger.entries()
        if samples is not None and (spent := nothing_left(Opener.of(ledger, samples), parameters)):
            log.warning("%s", spent)
    parameters.check_names(groups.by_level(), [*stress.root, *groups.conditions])
    if samples is not None and finds_objects(samples):
        _check_of_detector(parameters)
    elif profiles is not None:
        audit = groups.only("audit")
        known = profiles.set_index("sample_id")["predicted"]
        answers = known.reindex(audit.sample_ids).to_numpy(dtype=float, na_value=float("nan"))
        right, n = int((answers == audit.labels).sum()), int((~pd.isna(answers)).sum())
        check_float_model(right, n, parameters, groups.classes)
    return parameters


def _check_of_detector(policy: Policy) -> None:
    for asked, what in (
        (policy.evaluation == "sampled", "evaluation: sampled"),
        (policy.representatives is not None, "representatives (a quick look)"),
        (bool(policy.class_priors), "class_priors"),
    ):
        if asked:
            raise InputError(
                f"worst_case_check: {what} is for classifiers and not yet for detectors; leave it "
                "out"
            )


def check_business(groups: Groups, business: Business) -> Business:
    """Check that the business view names only groups that exist, and has a cost for each.

    A node of its own: what costs what decides nothing about which trials are run.

    Raises:
        InputError: Naming the unknown group, or the group whose cost is missing.
    """
    business.check(groups.by_column())
    return business


def propose_groups(
    samples: pd.DataFrame,
    profiles: pd.DataFrame,
    definitions: GroupDefinitions,
    policy: Policy,
) -> list[dict[str, Any]]:
    """Propose the groups of a quick look from ``pool`` and ``selection``; none means all."""
    chosen = propose_representatives(samples, profiles, definitions, policy)
    return [each.to_json() for each in chosen]


def gather_setting(
    groups: Groups,
    samples: pd.DataFrame,
    ledger: Ledger | None = None,
    predictions: pd.DataFrame | None = None,
    float_predictions: pd.DataFrame | None = None,
    representatives: list[dict[str, Any]] | None = None,
) -> AuditSetting:
    """Gather what is known of the audit beside its scores."""
    return AuditSetting(
        groups=groups,
        predictions=predictions,
        float_predictions=float_predictions,
        pool_size=int((samples["split"] == "pool").sum()) or None,
        opener=None if ledger is None else Opener.of(ledger, samples),
        representatives=tuple(Representative.read(each) for each in representatives or ()),
        detector=JudgedDetector(alarms=groups.alarms) if finds_objects(samples) else None,
    )


def judge(
    scores: pd.DataFrame,
    trials: pd.DataFrame,
    calibration_set_index: pd.DataFrame,
    policy: Policy,
    setting: AuditSetting,
    business: Business = NO_BUSINESS,
) -> tuple[Verdict, pd.DataFrame]:
    """Judge the recipe and the candidate, after both are entered in the audit ledger.

    Returns:
        The verdict, and the candidate's cells beside the drops over all draws.
    """
    setting = replace(setting, business=business)
    return build_verdict(scores, trials, calibration_set_index, policy, setting)


def compare(
    verdict: Verdict,
    samples: pd.DataFrame,
    setting: AuditSetting,
    champion: Baseline,
    policy: Policy,
    stress: StressParameters,
) -> tuple[Comparison, Baseline]:
    """Compare the candidate with the version that serves today, answer by answer.

    Returns:
        The comparison, and what the next candidate would be compared
        with if this one were released.
    """
    chosen = verdict.candidate
    assert setting.groups is not None
    assert setting.predictions is not None and setting.float_predictions is not None
    audited = units_of(samples, setting.groups.class_names, setting.groups.alarms)
    candidate = candidate_baseline(
        chosen.trial_id,
        setting.predictions,
        setting.float_predictions,
        audit=audited[audited["split"] == "audit"],
        shifts={name: dict(options) for name, options in stress.root.items()},
        cells=chosen.cells,
    )
    found = compare_with_champion(champion, candidate, setting.groups.only("audit"), policy)
    # So that nobody puts other answers into the next champion's baseline.
    return found.model_copy(update={"candidate_baseline": candidate.hash}), candidate


def tabulate_plots(
    worst_case_table: pd.DataFrame, scores: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Keep what `dvc plots` can draw: the cells that lose most, and their drops draw by draw.

    Returns:
        ``worst_groups`` (name, drop_mean, drop_max, limit; judged cells, the worst by evidence
        first), and ``drop_distribution`` (name, draw, drop; audit drops of the same cells), both in
        points.
    """
    worst = worst_case_table[worst_case_table["judged"].astype(bool)].head(MOST_CELLS)
    # People open these tables in a spreadsheet.
    names = (worst["group"].astype(str) + " (" + worst["shift"].astype(str) + ")").map(table_cell)
    worst = worst.assign(name=names)
    evidence = scores[(scores["role"] == "evidence") & (scores["split"] == "audit")]
    drops = worst[[*CellKey._fields, "name"]].merge(
        evidence, on=list(CellKey._fields), how="left", validate="1:m"
    )
    shown = ["drop_mean", "drop_max", "limit"]
    return (
        worst[["name"]].join((100 * worst[shown]).round(DIGITS)).reset_index(drop=True),
        drops.assign(drop=(100 * drops["drop"]).round(DIGITS))
        .dropna(subset="drop")[["name", "draw", "drop"]]
        .reset_index(drop=True),
    )


def sum_up(verdict: Verdict) -> dict[str, float | int | None]:
    """Give the ten numbers of a verdict that `dvc metrics` shows; drops and limits in points."""
    worst, average, recipe = verdict.worst, verdict.average, verdict.recipe
    states = Counter(cell.status for cell in verdict.candidate.cells)

    def points(fraction: float | None) -> float | None:
        return None if fraction is None else round(100 * fraction, DIGITS)

    return {
        "worst_drop": points(worst.own_drop if worst else None),
        "worst_limit": points(worst.limit if worst else None),
        "worst_draw_drop": points(worst.drop_worst_draw if worst else None),
        "average_drop": points(average.own_drop if average else None),
        "cells_shown_over": states["shown_bad"],
        "cells_open": states["open"],
        "cells_not_judged": states["not_judged"],
        "draws": recipe.distinct_draws,
        "draws_shown_bad": recipe.shown_bad,
        "draws_shown_good": recipe.shown_good,
    }
