"""What would settle an open question: about how many more samples.

These are plans, not evidence, so they use the usual normal approximation (a one-sided test of a
paired difference) around the observed rates.
"""

from __future__ import annotations

import numpy as np
from scipy import special

from ptq_pipeline.judgement.cells import needed_samples

POWER = 0.9


def samples_to_decide(lost: float, gained: float, n: int, limit: float, alpha: float) -> int:
    """About how many samples a group needs until its test decides.

    Args:
        lost: Observed losses (may be a mean over draws).
        gained: Observed gains.
        n: Samples they were observed on.
        limit: Limit of the drop, a fraction.
        alpha: Level of the test that is to decide.

    Returns:
        Samples in total, more than ``n``, with power 0.9 if the observed rates are the true ones.
        Where the observed drop lies within half a sample of its limit the number is that of half a
        sample's distance.
    """
    drop = (lost - gained) / n
    distance = max(abs(limit - drop), 0.5 / n)
    # Half an answer each, so that rates never seen are not taken for zero.
    variance = (lost + gained + 1) / (n + 1) - drop**2
    z = -special.ndtri(alpha) + special.ndtri(POWER)
    needed = int(np.ceil(z * z * max(variance, 1e-9) / distance**2))
    return max(needed, needed_samples(limit, alpha), n + max(1, n // 10))


def samples_to_show(flips: float, limit: float, alpha: float) -> int:
    """About how many samples a group needs until a model without a net drop is shown to hold.

    Args:
        flips: Share of answers that differ from the float model's.
        limit: Limit of the drop, a fraction.
        alpha: Level of the test.

    Returns:
        Samples in total, with power 0.9.

    Example:
        >>> samples_to_show(flips=0.02, limit=0.03, alpha=0.05)
        191
    """
    z = -special.ndtri(alpha) + special.ndtri(POWER)
    return max(int(np.ceil(z * z * flips / limit**2)), needed_samples(limit, alpha))
