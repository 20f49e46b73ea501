"""Nodes of ``subgroup_scoring``."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.group_ids import GroupDefinitions
from ptq_pipeline.core.groups import Groups, build_groups
from ptq_pipeline.core.outcomes import score
from ptq_pipeline.pipelines.subgroup_scoring.parameters import SubgroupScoringParameters


def define_groups(
    samples: pd.DataFrame,
    group_definitions: Mapping[str, Any],
    parameters: SubgroupScoringParameters,
) -> Groups:
    """Find each evaluated sample's groups.

    Every pipeline and command takes its groups from here. It needs no prediction, so bad groups are
    an error before any model is quantized.

    Raises:
        InputError: For an unknown segment, or groups that cannot be scored.
    """
    definitions = GroupDefinitions.read(group_definitions)
    segments, controls = definitions.columns(), definitions.columns(control=True)
    chosen = segments if parameters.segments is None else parameters.segments
    if unknown := sorted(set(chosen) - set(segments)):
        raise InputError(
            f"subgroup_scoring: segment '{unknown[0]}' does not exist; the segments are "
            f"{', '.join(map(repr, segments)) or 'none'}."
            + (f" '{unknown[0]}' is a control column." if unknown[0] in controls else "")
        )
    return build_groups(
        samples,
        definitions.classes,
        {name: segments[name] for name in chosen},
        controls=controls,
        intersection_min_size=parameters.intersection_min_size,
        intersection_depth=parameters.intersection_depth if parameters.intersections else 1,
    )


def score_groups(
    predictions: pd.DataFrame,
    float_predictions: pd.DataFrame,
    groups: Groups,
    trials: pd.DataFrame,
) -> pd.DataFrame:
    """Score every trial under every shift for every group.

    Returns:
        The ``scores`` table.
    """
    return score(predictions, float_predictions, groups, trials)
