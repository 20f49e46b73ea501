"""The candidate's drop under another mix of classes.

If production holds class ``c`` with share ``target[c]`` and the audit holds it ``n_c`` times, the
drop there is ``sum target[c] * drop_c``: only the mix of classes is assumed to change, not what is
hard within a class (label shift). A sample of class ``c`` weighs ``target[c] * n / n_c``. The units
of the bet (:mod:`ptq_pipeline.statistics.betting`) are weighted samples, or whole clusters of them,
of whatever classes, where samples of one cluster are not independent; its bounds hold for them
without a normal approximation. Rare audited classes with a large share get large weights, and the
interval says what that costs. A class with a share but without an audit image is named, and the
interval allows for any loss in it.

See Cochran (1977), *Sampling Techniques*, chapter 5, for stratified means, and Lipton, Wang and
Smola (2018), "Detecting and correcting for label shift with black box predictors", ICML.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ptq_pipeline.core.documents import Document, Interval
from ptq_pipeline.core.names import CLEAN
from ptq_pipeline.core.outcomes import Outcomes
from ptq_pipeline.judgement.candidate import Candidate
from ptq_pipeline.judgement.policy import class_shares
from ptq_pipeline.statistics.betting import Units, units_interval

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]


class ReweightedDrop(Document):
    """Drop under a target mix of classes, fractions, with a two-sided interval.

    Attributes:
        drop: Over the classes that have audit images.
        interval: Allows for any loss in those that have none.
        largest_weight: That of the heaviest sample; 1 where the mix is that of the audit.
        missing: Classes with a share and no audit image.
        missing_share: Their share.
    """

    added: ClassVar[frozenset[str]] = frozenset({"missing", "missing_share"})

    name: str = ""
    shift: str = CLEAN
    drop: float
    interval: Interval
    largest_weight: float
    missing: tuple[str, ...] = ()
    missing_share: float = 0.0


def sample_units(lost: IntArray, gained: IntArray, n: IntArray, weight: FloatArray) -> Units:
    """Independent samples as units: counts and the weight of a sample, per class."""
    counts = np.stack([lost, gained, n - lost - gained], axis=1).astype(np.float64)
    size = np.repeat(weight, 3)
    return Units(size, size * np.tile([1.0, -1.0, 0.0], weight.size), counts.ravel())


def reweighted_drop(
    units: Units, drop: float, weight: FloatArray, alpha: float, missing: float = 0.0
) -> ReweightedDrop:
    """Bound the drop of weighted units; ``missing`` is the share of classes without any."""
    low, high = (float(each) for each in units_interval(units, alpha))
    present = 1 - missing
    return ReweightedDrop(
        drop=drop,
        interval=(round(present * low - missing, 9), round(present * high + missing, 9)),
        largest_weight=float(weight.max()),
        missing_share=missing,
    )


def reweighted_drops(
    candidate: Candidate, outcomes: Outcomes | None = None
) -> tuple[ReweightedDrop, ...]:
    """The candidate under every other mix of classes; all intervals hold together.

    ``outcomes`` are its answers, of which clusters are made where samples have them.
    """
    cells, policy = candidate.judged.cells, candidate.policy
    alpha = policy.alpha / max(len(policy.class_priors) * len(cells.shifts), 1)
    found = []
    for name, mix in policy.class_priors.items():
        for shift in cells.shifts:
            drop = _under_mix(candidate, outcomes, mix, shift, alpha)
            found.append(drop.model_copy(update={"name": name, "shift": shift}))
    return tuple(found)


def _under_mix(
    candidate: Candidate,
    outcomes: Outcomes | None,
    mix: Mapping[str, float],
    shift: str,
    alpha: float,
) -> ReweightedDrop:
    cells, counts = candidate.judged.cells, candidate.judged.counts
    shares = dict(zip(mix, class_shares(mix, list(mix)).tolist(), strict=True))
    here = [
        i
        for i in np.flatnonzero((cells.levels == "class") & (cells.shift_of == shift)).tolist()
        if cells.n[i] > 0 and shares.get(cells.keys[i].group, 0) > 0
    ]
    names = [cells.keys[i].group for i in here]
    missing = tuple(name for name, share in shares.items() if share > 0 and name not in names)
    absent = round(sum(shares[name] for name in missing), 12)
    if not here:
        nothing = ReweightedDrop(drop=0.0, interval=(-1.0, 1.0), largest_weight=0.0)
        return nothing.model_copy(update={"missing": missing, "missing_share": absent})
    lost, gained, n = counts.lost[0, here], counts.gained[0, here], cells.n[here]
    target = np.array([shares[name] for name in names]) / (1 - absent)
    weight = target * n.sum() / n
    units = sample_units(lost, gained, n, weight)
    if outcomes is not None:
        by_class = dict(zip(names, weight.tolist(), strict=True))
        units = _cluster_units(outcomes, candidate.choice.trial_id, shift, by_class) or units
    shown = reweighted_drop(
        units, float((target * (lost - gained) / n).sum()), weight, alpha, absent
    )
    known = outcomes is not None or not cells.clustered[here].any()
    interval = shown.interval if known else (-1.0, 1.0)
    return shown.model_copy(update={"missing": missing, "interval": interval})


def _cluster_units(
    outcomes: Outcomes, trial_id: str, shift: str, weight: Mapping[str, float]
) -> Units | None:
    """Whole clusters as units, of whatever classes; None where every sample is its own."""
    groups = outcomes.groups
    seen = groups.under(shift) if shift in groups.conditions else groups
    (classes,) = (each for each in seen.partitions if each.level == "class")
    by_code = np.array([*(weight.get(name, 0.0) for name in classes.groups), 0.0])
    of_sample = np.where(seen.split == "audit", by_code[classes.codes], 0.0)
    inside = of_sample > 0
    own, count = np.unique(seen.clusters[inside], return_inverse=True, return_counts=True)[1:]
    if count.max(initial=0) < 2:
        return None
    images = CLEAN if shift in groups.conditions else shift
    sizes = of_sample[inside]
    net = outcomes.losses([trial_id], images).toarray()[0, inside] * sizes
    size, lost = (np.bincount(own, weights=each).astype(np.float64) for each in (sizes, net))
    return Units.of(size, lost)
