"""Why a group's drop differs: from draw to draw, or from one set of images to another."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from ptq_pipeline.core.documents import CellDocument, Count, Deviation, Share
from ptq_pipeline.core.group_ids import GroupKey
from ptq_pipeline.core.outcomes import Outcomes
from ptq_pipeline.statistics.crossed import components

SHOWN_LEVELS = ("average", "class", "segment")


class GroupComponents(CellDocument):
    """The spread of one group's drop under one shift, standard deviations as fractions.

    Attributes:
        n: Audit samples.
        draws: Calibration draws.
        sd_between_draws: Of the drop between draws, on endlessly many images.
        sd_between_image_sets: Of one draw's drop between sets of n images.
        draw_share: Share of one observed drop's variance that is due to the draw.
    """

    n: Count
    draws: Count
    sd_between_draws: Deviation
    sd_between_image_sets: Deviation
    draw_share: Share


def group_components(
    outcomes: Outcomes, trial_ids: Sequence[str], only: Collection[GroupKey] = ()
) -> tuple[GroupComponents, ...]:
    """Separate draws from images for the average and every class and segment, on the audit.

    Images of one cluster count as independent here, so with clusters `sd_between_image_sets` is
    understated.

    Args:
        outcomes: Answers on the evaluated samples.
        trial_ids: The recipe's finished draws, each one once.
        only: Pairs of level and group; all of them when empty.

    Returns:
        One entry per shift and group; none with fewer than two draws.
    """
    audit = outcomes.groups.split == "audit"
    if len(trial_ids) < 2 or not audit.any():
        return ()
    found = []
    for shift in outcomes.shifts:
        losses = outcomes.losses(trial_ids, shift, audit)
        for partition in outcomes.groups.partitions:
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
                        level=partition.level,
                        group=group,
                        shift=shift,
                        n=part.images,
                        draws=part.draws,
                        sd_between_draws=part.drop_sd_between_draws,
                        sd_between_image_sets=part.drop_sd_between_image_sets,
                        draw_share=part.draw_share,
                    )
                )
    return tuple(found)
