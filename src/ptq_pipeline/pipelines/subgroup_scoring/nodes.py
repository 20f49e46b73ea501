"""Nodes of ``subgroup_scoring``."""

import pandas as pd

from ptq_pipeline.core.group_ids import GroupDefinitions
from ptq_pipeline.core.grouping import SubgroupScoringParameters
from ptq_pipeline.core.groups import Groups
from ptq_pipeline.core.tally import score


def define_groups(
    samples: pd.DataFrame,
    definitions: GroupDefinitions,
    parameters: SubgroupScoringParameters,
) -> Groups:
    """Find each evaluated sample's groups.

    Every pipeline takes its groups from here. It needs no prediction, so bad groups are
    an error before any model is quantized.

    Raises:
        InputError: For an unknown segment, or groups that cannot be scored.
    """
    return parameters.build(samples, definitions)


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
