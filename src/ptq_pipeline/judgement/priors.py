"""Drop under another mix of classes, by reweighting the strata that were audited.

If production holds class ``c`` with share ``target[c]`` and the audit holds it ``n_c`` times, the
drop there is ``sum target[c] * drop_c``: only the mix of classes is assumed to change, not what is
hard within a class (label shift). A sample of class ``c`` weighs ``target[c] * n / n_c``; weighted
samples are the units of :mod:`.betting`, whose bounds hold for them without a normal approximation.
Rare audited classes with a large share get large weights, and the interval says what that costs.

See Cochran (1977), *Sampling Techniques*, chapter 5, for stratified means, and Lipton, Wang and
Smola (2018), "Detecting and correcting for label shift with black box predictors", ICML.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ptq_pipeline.core.documents import Document, Interval
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.group_ids import CLEAN
from ptq_pipeline.judgement.candidate import Candidate
from ptq_pipeline.judgement.policy import Policy
from ptq_pipeline.statistics.betting import Units, units_interval


class ReweightedDrop(Document):
    """Drop under a target mix of classes, fractions.

    Attributes:
        name: What the mix is called.
        shift: Under which shift.
        drop: The estimate.
        interval: Its two-sided interval.
        largest_weight: Weight of the heaviest sample; 1 where the mix is that of the audit.
    """

    name: str = ""
    shift: str = CLEAN
    drop: float
    interval: Interval
    largest_weight: float


def target_shares(target: Mapping[str, float], classes: Sequence[str]) -> NDArray[np.float64]:
    """Check a target mix and bring it into the order of the classes.

    Args:
        target: Weight per class; the weights are normalised.
        classes: All classes.

    Raises:
        InputError: For a class that is unknown or missing, or a weight that is no weight.
    """
    if unknown := sorted(set(target) - set(classes)):
        raise InputError(
            f"worst_case_check.class_priors: unknown class '{unknown[0]}'; the classes are "
            f"{', '.join(classes)}."
        )
    if missing := [name for name in classes if name not in target]:
        raise InputError(
            f"worst_case_check.class_priors: class '{missing[0]}' has no weight; give every class "
            "one."
        )
    weights = np.array([target[name] for name in classes], dtype=np.float64)
    if not np.all(np.isfinite(weights)) or weights.min() < 0 or weights.sum() <= 0:
        wrong = classes[int(np.argmin(np.where(np.isfinite(weights), weights, -np.inf)))]
        raise InputError(
            f"worst_case_check.class_priors: the weight of '{wrong}' is {target[wrong]}; weights "
            "are numbers of at least 0, and one is larger."
        )
    return weights / weights.sum()


def reweighted_drop(
    lost: NDArray[np.int64],
    gained: NDArray[np.int64],
    n: NDArray[np.int64],
    target: NDArray[np.float64],
    alpha: float,
) -> ReweightedDrop:
    """Drop under a target mix of classes.

    Args:
        lost: Losses per class, shape (classes,).
        gained: Gains per class, shape (classes,).
        n: Samples per class, shape (classes,).
        target: Share per class, adding up to 1, shape (classes,).
        alpha: Error of the interval.

    Raises:
        InputError: If a class with a share has no sample.
    """
    used = np.flatnonzero(target > 0)
    if np.any(n[used] < 1):
        empty = int(used[np.argmin(n[used])])
        raise InputError(f"class_priors: class number {empty} has a share but no audit sample.")
    total = n[used].sum()
    weight = target[used] * total / n[used]
    size = np.repeat(weight, 3)
    counts = np.stack([lost[used], gained[used], n[used] - lost[used] - gained[used]], axis=1)
    net = size * np.tile([1.0, -1.0, 0.0], used.size)
    units = Units(size, net, counts.astype(np.float64).ravel())
    drop = float((target[used] * (lost[used] - gained[used]) / n[used]).sum())
    return ReweightedDrop(
        drop=drop, interval=units_interval(units, alpha), largest_weight=float(weight.max())
    )


def reweighted_drops(policy: Policy, candidate: Candidate | None) -> tuple[ReweightedDrop, ...]:
    """The candidate under every other mix of classes; all intervals hold together."""
    if candidate is None or not policy.class_priors:
        return ()
    cells, counts = candidate.judged.cells, candidate.judged.counts
    alpha = policy.alpha / (len(policy.class_priors) * len(cells.shifts))
    found = []
    for name, mix in policy.class_priors.items():
        for shift in cells.shifts:
            here = enumerate(cells.keys)
            own = [i for i, key in here if (key.level, key.shift) == ("class", shift)]
            classes = [cells.keys[i].group for i in own]
            present = {key: weight for key, weight in mix.items() if key in classes}
            drop = reweighted_drop(
                counts.lost[0, own],
                counts.gained[0, own],
                cells.n[own],
                target_shares(present, classes),
                alpha,
            )
            found.append(drop.model_copy(update={"name": name, "shift": shift}))
    return tuple(found)
