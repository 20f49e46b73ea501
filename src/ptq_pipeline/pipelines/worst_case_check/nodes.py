"""Nodes of ``worst_case_check``."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from ptq_pipeline.pipelines.subgroup_scoring.nodes import define_groups
from ptq_pipeline.pipelines.subgroup_scoring.parameters import SubgroupScoringParameters
from ptq_pipeline.pipelines.worst_case_check.parameters import (
    BusinessParameters,
    WorstCaseCheckParameters,
)
from ptq_pipeline.reliability import (
    Baseline,
    ClusteredAudit,
    Groups,
    Ledger,
    Policy,
    audit_hash,
    build_verdict,
    candidate_baseline,
    check_policy,
    clustered_groups,
    collect_draws,
    compare_with_champion,
    defined_segments,
    group_components,
    keep_groups,
    propose_representatives,
)
from ptq_pipeline.reliability.business import business_view
from ptq_pipeline.reliability.float_floor import check_float_model
from ptq_pipeline.stress.parameters import StressParameters

NO_BUSINESS = BusinessParameters()
AS_DEFAULT = SubgroupScoringParameters()


def check_names(
    samples: pd.DataFrame,
    group_definitions: Mapping[str, Any],
    parameters: WorstCaseCheckParameters,
    stress: StressParameters,
    business: BusinessParameters = NO_BUSINESS,
    scoring: SubgroupScoringParameters = AS_DEFAULT,
    ledger: Ledger | None = None,
    profiles: pd.DataFrame | None = None,
) -> Policy:
    """Check that policy and business view name only groups and shifts that exist.

    It needs no score, so a policy with a wrong name is an error before any model is quantized, and
    so are a ledger that was edited and a float model near chance (``profiles`` hold its answers).

    Raises:
        InputError: Naming the unknown group or shift, the group whose cost is missing, the
            ledger's broken line, or the float model's accuracy.
    """
    if ledger is not None:
        ledger.entries()
    groups = _every_group(samples, group_definitions, scoring)
    check_policy(parameters, groups.by_level(), [*stress.root, *groups.conditions])
    business.check(groups.by_column())
    if profiles is not None:
        audit = samples[samples["split"] == "audit"].merge(
            profiles[["sample_id", "predicted"]], on="sample_id"
        )
        right = int((audit["predicted"] == audit["label"]).sum())
        check_float_model(right, len(audit), parameters, len(group_definitions["classes"]))
    return parameters


def propose_groups(
    samples: pd.DataFrame,
    profiles: pd.DataFrame,
    group_definitions: Mapping[str, Any],
    policy: Policy,
) -> list[dict[str, Any]]:
    """Propose the groups of a quick look from ``pool`` and ``selection``; none means all."""
    chosen = propose_representatives(
        samples,
        profiles,
        group_definitions["classes"],
        defined_segments(group_definitions)[0],
        policy,
    )
    return [each.to_json() for each in chosen]


def judge(
    scores: pd.DataFrame,
    trials: pd.DataFrame,
    calibration_set_index: pd.DataFrame,
    samples: pd.DataFrame,
    group_definitions: Mapping[str, Any],
    policy: Policy,
    ledger: Ledger | None = None,
    predictions: pd.DataFrame | None = None,
    float_predictions: pd.DataFrame | None = None,
    representatives: list[dict[str, Any]] | None = None,
    business: BusinessParameters = NO_BUSINESS,
    scoring: SubgroupScoringParameters = AS_DEFAULT,
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Judge the recipe and the candidate, after both are entered in the audit ledger.

    Returns:
        The content of ``verdict.json``, and the candidate's cells beside the drops over all draws.
    """
    groups = define_groups(samples, group_definitions, scoring)
    chosen = representatives or []
    kept = [(each["level"], each["group"]) for each in chosen]
    scores = keep_groups(scores, kept)
    sizes = _every_group(samples, group_definitions, scoring).sizes()
    clustered = clustered_groups(samples, groups)
    clusters, opener = None, None
    if clustered and predictions is not None and float_predictions is not None:
        clusters = ClusteredAudit(samples, groups, predictions, float_predictions)
    if ledger is not None:
        audit = samples[samples["split"] == "audit"].sort_values("sample_id")
        opener = ledger.opener(audit_hash(audit["content_hash"]))
    verdict = build_verdict(
        scores,
        trials,
        calibration_set_index,
        policy,
        pool_size=int((samples["split"] == "pool").sum()) or None,
        clustered=clustered,
        clusters=clusters,
        opener=opener,
        group_sizes={key: n for key, n in sizes.items() if not kept or key in kept},
        classes=len(group_definitions["classes"]),
    )
    content = {
        **verdict.to_json(),
        "representatives": chosen,
        "components": [],
        "repeated_images": groups.copies("audit"),
    }
    if predictions is not None and float_predictions is not None:
        done = collect_draws(calibration_set_index, trials, policy).done
        found = group_components(groups, predictions, float_predictions, done, kept)
        content["components"] = [each.to_json() for each in found]
    cells, confidence = content["candidate"]["cells"], 1 - policy.alpha_fail
    # A few representative groups do not add up to all requests.
    content["business"] = (
        None if chosen else business_view(cells, business, confidence, groups.by_column())
    )
    return content, verdict.table


def compare(
    verdict: Mapping[str, Any],
    predictions: pd.DataFrame,
    samples: pd.DataFrame,
    group_definitions: Mapping[str, Any],
    champion: Baseline,
    policy: Policy,
    stress: StressParameters,
    scoring: SubgroupScoringParameters = AS_DEFAULT,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Compare the candidate with the version that serves today, answer by answer.

    Returns:
        The content of ``champion_comparison.json``, and what the next candidate would be compared
        with if this one were released.
    """
    audit = samples[samples["split"] == "audit"].sort_values("sample_id")
    candidate = candidate_baseline(
        verdict["candidate"]["trial_id"],
        predictions,
        audit,
        {name: dict(options) for name, options in stress.root.items()},
        verdict["candidate"]["cells"],
    )
    groups = define_groups(audit, group_definitions, scoring)
    comparison = compare_with_champion(champion, candidate, groups, policy, audit)
    # So that nobody puts other answers into the next champion's baseline.
    return comparison.to_json() | {"candidate_baseline": candidate.hash}, candidate.to_json()


def _every_group(
    samples: pd.DataFrame,
    group_definitions: Mapping[str, Any],
    scoring: SubgroupScoringParameters,
) -> Groups:
    """Groups that policy may name: also intersections that are too small to be shown."""
    every = scoring.model_copy(update={"intersection_min_size": 1})
    return define_groups(samples, group_definitions, every)
