"""When the recipe's verdict is settled before all draws are judged.

Draws are read in the order in which they were made, whoever finishes first: the answer depends on
outcomes of a prefix only, never on the number of workers. A draw that is unfinished counts as not
shown good. Two things settle:

- FAIL, when the anytime-valid test of :mod:`.anytime` reaches its threshold;
- PASS, when so many of the preset draws are shown good that the rest cannot change it. That is
  curtailment: the decision is the one that all preset draws would give, so it costs no error
  (Alling 1963, "Early decision in the Wilcoxon two-sample test", JASA 58, for the principle).

Nothing else does. Too many draws that are not shown good rule out PASS but not FAIL; that is said
(``pass_excluded``), so that a budget may end there as INCONCLUSIVE. Tests are those of the preset
number of draws throughout: after a look nothing switches to the bounds of a smaller sample.

Within a draw a *group* may be settled on its own by bounds that hold at any time over images; its
neighbours go on. A draw is shown good when all its judged groups are, shown bad when one is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from ptq_pipeline.reliability.anytime import FailBudget, failing_draw
from ptq_pipeline.reliability.draws import DrawSplit


class DrawState(StrEnum):
    """What is known of one draw."""

    UNFINISHED = "unfinished"
    SHOWN_GOOD = "shown_good"
    SHOWN_BAD = "shown_bad"
    OPEN = "open"


@dataclass(frozen=True)
class Settled:
    """Where a sequence of draws stands.

    Attributes:
        result: PASS or FAIL once that is certain; None before.
        after: Draws of the prefix that settled it; None before.
        pass_excluded: Whether PASS is impossible whatever the rest brings.
    """

    result: Literal["PASS", "FAIL"] | None
    after: int | None
    pass_excluded: bool


def draw_state(groups: Iterable[DrawState]) -> DrawState:
    """State of a draw from those of its judged groups, each settled against its own limit.

    Examples:
        >>> draw_state([DrawState.SHOWN_GOOD, DrawState.UNFINISHED])
        <DrawState.UNFINISHED: 'unfinished'>
    """
    states = list(groups)
    if DrawState.SHOWN_BAD in states:
        return DrawState.SHOWN_BAD
    if not states or DrawState.UNFINISHED in states:
        return DrawState.UNFINISHED
    return DrawState.OPEN if DrawState.OPEN in states else DrawState.SHOWN_GOOD


def settled(
    states: Sequence[DrawState], split: DrawSplit, budget: FailBudget, *, blocked: bool = False
) -> Settled:
    """Whether the verdict on a recipe is settled.

    Args:
        states: One state per draw in the order in which the draws were made; unfinished ones in
            their place.
        split: Budget of PASS for the preset number of draws.
        budget: Budget of FAIL.
        blocked: Whether something else makes PASS impossible.

    Returns:
        The earliest prefix of finished draws that settles it.
    """
    finished = 0
    for state in states:
        if state is DrawState.UNFINISHED:
            break
        finished += 1
    prefix = list(states[:finished])
    failed = failing_draw([state is DrawState.SHOWN_BAD for state in prefix], budget)
    good, needed = 0, split.draws - max(split.allowed, 0)
    passed = None
    for position, state in enumerate(prefix[: split.draws], start=1):
        good += state is DrawState.SHOWN_GOOD
        if good >= needed and split.pass_possible and not blocked:
            passed = position
            break
    not_good = sum(state is not DrawState.SHOWN_GOOD for state in prefix[: split.draws])
    excluded = blocked or not split.pass_possible or not_good > split.allowed
    # FAIL has a budget of its own and comes first where both are reached.
    if failed is not None and (passed is None or failed <= passed):
        return Settled("FAIL", failed, excluded)
    if passed is not None:
        return Settled("PASS", passed, False)
    return Settled(None, None, excluded)
