"""The search for a calibration set whose worst group is better than that of random sets.

The search looks at `selection` only. The one winner is then compared on `audit` with random sets of
its size that the search has not seen: if it were no better than they, its rank among them would be
anybody's, so the share of ranks that are as good is an exact p-value.
"""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ptq_pipeline.pipelines.benchmark.parameters import CalibrationChoice

log = logging.getLogger(__name__)

# Draws of the random sets start here, far from those that the search looks at.
FRESH_DRAWS = 10_000
# A choice and the number of a draw to the worst group's drop, in points.
Score = Callable[[CalibrationChoice, int], float]

STRATEGIES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("random", {}),
    ("class_balanced", {}),
    ("coverage", {"method": "k_center"}),
    ("coverage", {"method": "clusters"}),
    ("margin", {}),
    ("hard", {}),
)
AUGMENTATIONS: tuple[dict[str, Any], ...] = (
    {},
    {"kind": "flip", "share": 0.5},
    {"kind": "mixup", "share": 0.5},
)


@dataclass(frozen=True)
class Design:
    """One place of the search: a choice, and the scores of its draws so far."""

    choice: CalibrationChoice
    scores: tuple[float, ...] = ()

    @property
    def mean(self) -> float:
        """Mean of the scores: the strategy's, of which the best draw may be luck."""
        return float(np.mean(self.scores))

    def drawn(self, wanted: int, score: Score) -> "Design":
        """Return the same with ``wanted`` draws."""
        new = [score(self.choice, draw) for draw in range(len(self.scores), wanted)]
        return Design(self.choice, (*self.scores, *new))


def candidates(sizes: Sequence[int]) -> list[CalibrationChoice]:
    """Return every size, composition and augmentation, crossed."""
    return [
        CalibrationChoice(strategy=name, options=options, size=size, augmentation=augmentation)
        for size in sizes
        for name, options in STRATEGIES
        for augmentation in AUGMENTATIONS
    ]


def search(choices: Sequence[CalibrationChoice], score: Score, draws: int) -> list[Design]:
    """Return the designs that reached the last round, the best first.

    Successive halving (Jamieson and Talwalkar, AISTATS 2016): every choice gets one draw, the
    better half another as many again, until ``draws`` are spent on those left.
    """
    kept = [Design(choice) for choice in choices]
    wanted = 1
    while True:
        kept = [each.drawn(wanted, score) for each in kept]
        kept.sort(key=lambda each: each.mean)
        log.info(
            "%d designs after %d draws: the best one's worst group loses %.2f points",
            len(kept),
            wanted,
            kept[0].mean,
        )
        if wanted >= draws:
            return kept
        kept = kept[: max(1, math.ceil(len(kept) / 2))]
        wanted = min(2 * wanted, draws)


@dataclass(frozen=True)
class Confirmation:
    """What the audit says of the winner: worst groups' drops in points.

    Attributes:
        winner: its own.
        random: those of the random sets.
        level: error that this opening of the audit may spend.
    """

    winner: float
    random: tuple[float, ...]
    level: float

    @property
    def p_value(self) -> float:
        """Chance of such a rank if the winner is a set like the random ones."""
        as_good = sum(each <= self.winner for each in self.random)
        return (1 + as_good) / (1 + len(self.random))

    @property
    def better(self) -> bool:
        """Whether the winner was shown better than random sets."""
        return self.p_value <= self.level

    def says(self) -> str:
        """Return one sentence."""
        middle = float(np.median(self.random))
        against = (
            f"worst group {self.winner:.2f} points, {len(self.random)} random sets of the same "
            f"size lose {middle:.2f} in the median (p = {self.p_value:.3f}, level {self.level:.3f})"
        )
        if self.better:
            return f"better than random: {against}"
        return f"nothing better than random sets was found: {against}"


def needed_random_sets(level: float) -> int:
    """Return how many random sets a first rank needs to reach the level.

    Example:
        >>> needed_random_sets(0.05)
        19
    """
    return math.ceil(1 / level - 1e-9) - 1


def confirm(winner: float, size: int, score: Score, level: float) -> Confirmation:
    """Compare the winner's drop on the audit with random sets of its size."""
    plain = CalibrationChoice(size=size)
    log.info("comparing with %d random sets on the audit", needed_random_sets(level))
    found = [score(plain, FRESH_DRAWS + number) for number in range(needed_random_sets(level))]
    return Confirmation(winner, tuple(found), level)


def worst_drop(
    predictions: Mapping[str, np.ndarray],
    reference: Mapping[str, np.ndarray],
    labels: np.ndarray,
    classes: int,
) -> float:
    """Return the largest drop of any class under any shift, in points."""
    count = np.maximum(np.bincount(labels, minlength=classes), 1)
    worst = -math.inf
    for shift, answers in predictions.items():
        lost = (reference[shift] == labels).astype(int) - (answers == labels).astype(int)
        drops = np.bincount(labels, weights=lost, minlength=classes) / count
        worst = max(worst, 100 * float(drops.max()))
    return worst
