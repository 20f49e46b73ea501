"""Nodes of ``worst_case_check``."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from ptq_pipeline.pipelines.quantization.parameters import StressParameters
from ptq_pipeline.pipelines.worst_case_check.parameters import WorstCaseCheckParameters
from ptq_pipeline.reliability import (
    Groups,
    Policy,
    build_groups,
    build_verdict,
    check_policy,
    clustered_groups,
)


def check_names(
    samples: pd.DataFrame,
    group_definitions: Mapping[str, Any],
    parameters: WorstCaseCheckParameters,
    stress: StressParameters,
) -> Policy:
    """Check that the policy names only groups and shifts that exist.

    It needs no score, so a policy with a wrong name is an error before any model is quantized.

    Raises:
        InputError: Naming the unknown group or shift.
    """
    groups = _all_groups(samples, group_definitions)
    check_policy(parameters, groups.by_level(), stress.root)
    return parameters


def judge(
    scores: pd.DataFrame,
    trials: pd.DataFrame,
    calibration_set_index: pd.DataFrame,
    samples: pd.DataFrame,
    group_definitions: Mapping[str, Any],
    policy: Policy,
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Judge the recipe and the candidate.

    Returns:
        The content of ``verdict.json``, and the candidate's cells beside the drops over all draws.
    """
    verdict = build_verdict(
        scores,
        trials,
        calibration_set_index,
        policy,
        pool_size=int((samples["split"] == "pool").sum()) or None,
        clustered=clustered_groups(samples, _all_groups(samples, group_definitions)),
    )
    return verdict.to_json(), verdict.table


def _all_groups(samples: pd.DataFrame, group_definitions: Mapping[str, Any]) -> Groups:
    segments = {name: each["names"] for name, each in group_definitions["segments"].items()}
    return build_groups(samples, group_definitions["classes"], segments)
