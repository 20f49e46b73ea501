"""The verdict: recipe and candidate, with reasons and with what would settle an open question."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, replace

import numpy as np
import pandas as pd

from ptq_pipeline.reliability.accuracy import cell_lower_bound
from ptq_pipeline.reliability.candidate import Candidate, choose_candidate, find_candidate
from ptq_pipeline.reliability.cells import (
    Cells,
    Counts,
    build_cells,
    collect_counts,
)
from ptq_pipeline.reliability.clusters import ClusteredAudit
from ptq_pipeline.reliability.draws import DrawSplit, split_budget
from ptq_pipeline.reliability.explanation import Case, explain_candidate, explain_recipe, settle
from ptq_pipeline.reliability.float_floor import above_floor
from ptq_pipeline.reliability.ledger import Opener
from ptq_pipeline.reliability.openings import (
    candidate_question,
    open_audit,
    recipe_question,
)
from ptq_pipeline.reliability.policy import GroupKey, Policy
from ptq_pipeline.reliability.priors import reweighted_drop, target_shares
from ptq_pipeline.reliability.reasons import Result, combine
from ptq_pipeline.reliability.recipe import Draws, RecipeOutcome, collect_draws, judge_recipe
from ptq_pipeline.reliability.sentences import Sentence, cell_value, say
from ptq_pipeline.reliability.summary import (
    WORST_LEVELS,
    CellSummary,
    DrawSummary,
    worst_draws,
)
from ptq_pipeline.reliability.tolerance import Tolerance, tolerance_bound
from ptq_pipeline.reliability.unjudged import not_judged_line, unjudged_groups
from ptq_pipeline.reliability.verdict_form import CandidateVerdict, RecipeVerdict, Verdict


def build_verdict(
    scores: pd.DataFrame,
    trials: pd.DataFrame,
    index: pd.DataFrame,
    policy: Policy,
    *,
    pool_size: int | None = None,
    clustered: Collection[GroupKey] = (),
    clusters: ClusteredAudit | None = None,
    opener: Opener | None = None,
    group_sizes: Mapping[GroupKey, int] | None = None,
    classes: int | None = None,
) -> Verdict:
    """Judge the recipe and the candidate.

    Args:
        scores: Scores of all trials.
        trials: All trials, failed ones included.
        index: ``calibration_set_index``.
        policy: The policy; :func:`.check_policy` has passed it.
        pool_size: Images in the pool, for the ratio of set size to pool size.
        clustered: Groups in which some cluster has several audit samples; without ``clusters``
            their cells stay open, because tests of single samples need independent ones.
        clusters: The clusters with everybody's answers, for tests that respect them.
        opener: Enters recipe and candidate in the audit ledger, see :meth:`.Ledger.opener`.
        group_sizes: Audit samples of every group that exists, see :meth:`.Groups.sizes`; without
            them classes that have no audit sample are not known of.
        classes: Classes of the model, for floors that stand relative to chance; those that have a
            cell where it is left out.

    Returns:
        The verdict.

    Raises:
        InputError: For tables that contradict each other.
    """
    draws = collect_draws(index, trials, policy)
    done = draws.done
    opening = open_audit("recipe", recipe_question(draws, trials), policy, opener)
    split = split_budget(max(draws.distinct, 1), policy.p0, opening.policy.alpha)
    evidence = scores[scores["trial_id"].isin(done)]
    sizes = clusters.sizes if clusters else None
    cells = build_cells(evidence, policy, split.alpha_image, clustered, sizes)
    audit = collect_counts(evidence, cells, done, "audit")
    if clusters:
        audit = replace(audit, clusters=clusters.outcomes(cells, done))
    cells = above_floor(cells, audit, policy, classes or _classes(cells))
    unjudged = unjudged_groups(cells, policy, split.alpha_image, audit, group_sizes)
    blocked = any(group.blocks for group in unjudged)
    recipe = judge_recipe(draws, audit, cells, split, opening.policy, blocked or opening.refused)
    openings = [opening]
    selection = collect_counts(evidence, cells, done, "selection")
    candidate = None
    if done:
        choice = choose_candidate(selection, cells)
        question = candidate_question(_set_of(draws, choice.trial_id), trials)
        openings.append(open_audit("candidate", question, policy, opener))
        candidate = find_candidate(
            selection, audit, cells, openings[1].policy, blocked or openings[1].refused
        )
    case = Case(
        opening.policy,
        *(draws, split, cells, audit, unjudged, recipe, candidate, tuple(openings)),
    )
    result = combine([recipe.result, candidate.outcome.result if candidate else "INCONCLUSIVE"])
    summary = DrawSummary(cells, audit.drop, candidate) if candidate else None
    worst, average = (summary.overall_worst(), summary.average()) if summary else (None, None)
    return Verdict(
        result=result,
        headline=_headline(result, worst, average, len(done)),
        reasons=()
        if result == "PASS"
        else (
            *explain_recipe(case),
            *explain_candidate(replace(case, policy=openings[-1].policy)),
        ),
        settle=() if result == "PASS" else settle(case),
        recipe=_recipe_verdict(
            opening.policy, draws, split, cells, audit, recipe, index, pool_size
        ),
        candidate=_candidate_verdict(policy, draws, cells, audit, candidate),
        worst=worst,
        worst_by_level={level: summary.worst(level) if summary else None for level in WORST_LEVELS},
        average=average,
        draw_spread=summary.spread() if summary else (),
        groups_not_judged=unjudged,
        not_judged=not_judged_line(unjudged),
        policy=policy,
        openings=tuple(openings),
        tolerance=_tolerance(draws, audit, cells, split),
        class_priors=_class_priors(policy, cells, audit, candidate),
        table=_table(policy, cells, audit, candidate),
    )


def _classes(cells: Cells) -> int:
    keys = set(zip(cells.level, cells.group, strict=True))
    return sum(level == "class" for level, _ in keys)


def _set_of(draws: Draws, trial_id: str) -> str:
    return str(draws.table.set_index("trial_id").loc[trial_id, "set_id"])


def _tolerance(draws: Draws, audit: Counts, cells: Cells, split: DrawSplit) -> Tolerance:
    """Over the preset draws only, as PASS: how many there are is not chosen after looking."""
    preset = draws.table[draws.table["preset"]]
    done = set(preset.loc[preset["status"] == "done", "trial_id"])
    rows = np.array([i for i, trial in enumerate(audit.trial_ids) if trial in done], dtype=np.int64)
    kept = audit.rows(rows)
    return tolerance_bound(kept, cells, split, max(draws.distinct, 1), len(preset) - len(rows))


def _class_priors(
    policy: Policy, cells: Cells, audit: Counts, candidate: Candidate | None
) -> tuple[dict[str, object], ...]:
    """The candidate under every other mix of classes; all intervals hold together."""
    if candidate is None or not policy.class_priors:
        return ()
    shifts = list(dict.fromkeys(cells.shift))
    alpha = policy.alpha / (len(policy.class_priors) * len(shifts))
    found: list[dict[str, object]] = []
    for name, mix in policy.class_priors.items():
        for shift in shifts:
            own = [
                i
                for i in range(len(cells))
                if cells.level[i] == "class" and cells.shift[i] == shift
            ]
            classes = [cells.group[i] for i in own]
            present = {key: weight for key, weight in mix.items() if key in classes}
            drop = reweighted_drop(
                audit.lost[candidate.row, own],
                audit.gained[candidate.row, own],
                cells.n[own],
                target_shares(present, classes),
                alpha,
            )
            found.append({"name": name, "shift": shift, **asdict(drop)})
    return tuple(found)


def _recipe_verdict(
    policy: Policy,
    draws: Draws,
    split: DrawSplit,
    cells: Cells,
    audit: Counts,
    outcome: RecipeOutcome,
    index: pd.DataFrame,
    pool_size: int | None,
) -> RecipeVerdict:
    said = outcome.statement(draws.distinct, policy.alpha)
    sizes = index.loc[index["role"] == "evidence", "size"].unique() if "size" in index else []
    set_size = int(sizes[0]) if len(sizes) == 1 else None
    preset = draws.table["preset"].to_numpy(dtype=np.bool_)
    return RecipeVerdict(
        result=outcome.result,
        strategy=draws.strategy,
        draws=policy.draws,
        drawn=draws.drawn,
        rejected_sets=draws.rejected,
        identical_sets=draws.identical,
        failed_trials=int((draws.table["status"] == "failed").sum()),
        distinct_draws=draws.distinct,
        shown_good=int((outcome.shown_good & preset).sum()),
        shown_bad=int(outcome.shown_bad.sum()),
        not_shown_good=outcome.not_shown_good,
        allowed_not_shown_good=max(split.allowed, 0),
        failed_after_draws=outcome.failed_at,
        p0=policy.p0,
        alpha=policy.alpha,
        alpha_image=split.alpha_image,
        alpha_draw=split.alpha_draw,
        total_error_bound=split.total_error,
        alpha_fail=policy.alpha_fail,
        set_size=set_size,
        pool_size=pool_size,
        pool_ratio=set_size / pool_size if set_size and pool_size else None,
        statement=said.text,
        sentence=said.to_json(),
        worst_draws=worst_draws(cells, audit, draws.table),
    )


def _candidate_verdict(
    policy: Policy, draws: Draws, cells: Cells, audit: Counts, candidate: Candidate | None
) -> CandidateVerdict:
    if candidate is None:
        return CandidateVerdict("INCONCLUSIVE", None, None, None, [])
    score = candidate.choice.score
    return CandidateVerdict(
        result=candidate.outcome.result,
        trial_id=candidate.trial_id,
        set_id=_set_of(draws, candidate.trial_id),
        selection_score=None if np.isnan(score) else score,
        cells=[_cell_record(policy, cells, audit, candidate, i) for i in range(len(cells))],
    )


def _cell_record(
    policy: Policy, cells: Cells, audit: Counts, candidate: Candidate, i: int
) -> dict[str, object]:
    row = candidate.row
    drop, accuracy = float(audit.drop[row, i]), float(audit.float_accuracy[i])
    return {
        "level": cells.level[i],
        "group": cells.group[i],
        "shift": cells.shift[i],
        "n": int(cells.n[i]),
        "float_accuracy": accuracy,
        "quantized_accuracy": accuracy - drop,
        "accuracy_lower": cell_lower_bound(cells, audit, row, i, policy.alpha),
        "drop": drop,
        "interval": list(candidate.interval(i)),
        "lost": int(audit.lost[row, i]),
        "gained": int(audit.gained[row, i]),
        "flips": int(audit.flips[row, i]),
        "limit": float(cells.limit[i]),
        "judged": bool(candidate.outcome.judged[i]),
        "status": candidate.outcome.status[i],
        "critical": bool(cells.critical[i]),
    }


TABLE_COLUMNS = (
    *("level", "group", "shift", "n", "limit", "judged", "critical", "status"),
    *("float_accuracy", "quantized_accuracy", "drop", "interval_low", "interval_high"),
    *("lost", "gained", "flips", "drop_mean", "drop_min", "drop_max", "draws"),
)


def _table(
    policy: Policy, cells: Cells, audit: Counts, candidate: Candidate | None
) -> pd.DataFrame:
    """Candidate's cells beside the drops over all draws, worst mean drop first."""
    if candidate is None or len(cells) == 0:
        return pd.DataFrame(columns=list(TABLE_COLUMNS))
    records = [_cell_record(policy, cells, audit, candidate, i) for i in range(len(cells))]
    table = pd.DataFrame(records).drop(columns="interval")
    table["interval_low"], table["interval_high"] = candidate.intervals.T
    table["drop_mean"] = audit.drop.mean(axis=0)
    table["drop_min"] = audit.drop.min(axis=0)
    table["drop_max"] = audit.drop.max(axis=0)
    table["draws"] = len(audit.trial_ids)
    table = table.sort_values("drop_mean", ascending=False, kind="stable", ignore_index=True)
    return table[list(TABLE_COLUMNS)]


def _headline(
    result: Result, worst: CellSummary | None, average: CellSummary | None, draws: int
) -> Sentence:
    if worst is None:
        return say("headline.nothing_judged", result=result)
    values = {
        "result": result,
        "cell": cell_value(worst.level, worst.group, worst.shift),
        "mean": worst.drop_mean_over_draws,
        "draws": draws,
        "worst": worst.drop_worst_draw,
        "limit": worst.limit,
    }
    if average is None:
        return say("headline.worst", **values)
    beside = {"shift": average.shift, "average": average.drop_mean_over_draws}
    return say("headline.worst_and_average", **values, **beside)
