"""Why a group's drop differs: from draw to draw, or from one set of images to another."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from ptq_pipeline.reliability.crossed import components
from ptq_pipeline.reliability.groups import Groups
from ptq_pipeline.reliability.outcomes import lay_out, lay_out_float
from ptq_pipeline.reliability.policy import GroupKey

SHOWN_LEVELS = ("average", "class", "segment")


@dataclass(frozen=True)
class GroupComponents:
    """The spread of one group's drop under one shift, standard deviations as fractions.

    Attributes:
        level: Its level.
        group: Its name.
        shift: The shift.
        n: Audit samples.
        draws: Calibration draws.
        sd_between_draws: Of the drop between draws, on endlessly many images.
        sd_between_image_sets: Of one draw's drop between sets of n images.
        draw_share: Share of one observed drop's variance that is due to the draw.
    """

    level: str
    group: str
    shift: str
    n: int
    draws: int
    sd_between_draws: float
    sd_between_image_sets: float
    draw_share: float

    def to_json(self) -> dict[str, Any]:
        """JSON types."""
        return asdict(self)


def group_components(
    groups: Groups,
    predictions: pd.DataFrame,
    float_predictions: pd.DataFrame,
    trial_ids: Sequence[str],
    only: Collection[GroupKey] = (),
) -> tuple[GroupComponents, ...]:
    """Separate draws from images for the average and every class and segment, on the audit.

    Images of one cluster count as independent here, so with clusters `sd_between_image_sets` is
    understated.

    Args:
        groups: Groups of the evaluated samples.
        predictions: ``trial_id``, ``shift``, ``sample_id``, ``predicted``.
        float_predictions: ``shift``, ``sample_id``, ``predicted``.
        trial_ids: The recipe's finished draws, each one once.
        only: Pairs of level and group; all of them when empty.

    Returns:
        One entry per shift and group; none with fewer than two draws.
    """
    used = predictions[predictions["trial_id"].isin(list(trial_ids))]
    answers = lay_out(used, groups)
    audit = groups.split == "audit"
    if len(answers.trial_ids) < 2 or not audit.any():
        return ()
    labels = groups.labels[audit]
    float_right = lay_out_float(float_predictions, groups, answers.shifts)[:, audit] == labels
    found = []
    for position, shift in enumerate(answers.shifts):
        right = answers.predicted[answers.shift == position][:, audit] == labels
        losses = float_right[position].astype(np.int8) - right.astype(np.int8)
        for partition in groups.partitions:
            if partition.level not in SHOWN_LEVELS:
                continue
            codes = partition.codes[audit]
            for code, group in enumerate(partition.groups):
                members = np.flatnonzero(codes == code)
                if len(members) < 2 or (only and (partition.level, group) not in only):
                    continue
                part = components(losses[:, members])
                found.append(
                    GroupComponents(
                        *(partition.level, group, shift, part.images, part.draws),
                        sd_between_draws=part.drop_sd_between_draws,
                        sd_between_image_sets=part.drop_sd_between_image_sets,
                        draw_share=part.draw_share,
                    )
                )
    return tuple(found)
