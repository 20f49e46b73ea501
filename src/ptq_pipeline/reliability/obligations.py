"""What a release owes to people outside: floors that a contract promises, and notices.

Nothing here refuses a candidate. It lists what a release touches, so that somebody acknowledges it
by name before the release, and the record says who.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ptq_pipeline.reliability.policy import Obligation, Policy
from ptq_pipeline.reliability.wording import cell_name, group_name, plural

Kind = Literal["contract_floor", "notice_required"]
Cell = Mapping[str, Any]


@dataclass(frozen=True)
class TouchedObligation:
    """One obligation that a release of this candidate touches.

    Attributes:
        kind: ``contract_floor`` or ``notice_required``.
        to: Whom it is owed to.
        level: Level of the group.
        group: The group.
        shift: The shift.
        observed: Accuracy of the candidate (a floor), or share of answers that change (a notice).
        lower: One-sided exact lower bound of that accuracy; None for a notice.
        floor: The promised accuracy, a fraction; None for a notice.
        n: Samples behind it.
        text: One plain sentence.
    """

    kind: Kind
    to: str
    level: str
    group: str
    shift: str
    observed: float | None
    lower: float | None
    floor: float | None
    n: int
    text: str

    @property
    def name(self) -> str:
        """The name by which it is acknowledged."""
        return f"{self.to}: {self.kind} {self.level} {self.group} {self.shift}"

    def to_json(self) -> dict[str, Any]:
        """JSON types."""
        return {"name": self.name, "touched": True, **asdict(self)}


def accuracy_lower_bound(correct: int, n: int, alpha: float) -> float:
    """Exact one-sided (Clopper-Pearson) lower bound of an accuracy.

    Examples:
        >>> round(accuracy_lower_bound(95, 100, 0.05), 4)
        0.8977
    """
    from scipy.stats import beta

    return 0.0 if correct == 0 else float(beta.ppf(alpha, correct, n - correct + 1))


def touched_obligations(
    policy: Policy, cells: Iterable[Cell], compared: Iterable[Cell] = ()
) -> tuple[TouchedObligation, ...]:
    """List the obligations that a release of the candidate touches.

    A floor is touched unless the candidate's accuracy is *shown* to reach it. A notice is touched
    when the candidate answers any image of the group differently from what serves today (from the
    float model, where nothing serves).

    Args:
        policy: The policy with its obligations and ``alpha``.
        cells: The candidate's cells of the verdict.
        compared: Cells of the comparison with the champion.

    Returns:
        Touched obligations in the order of the policy.
    """
    own = {(c["level"], c["group"], c["shift"]): c for c in cells}
    against = {(c["level"], c["group"], c["shift"]): c for c in compared}
    found = []
    for obligation in policy.obligations:
        for shift in obligation.shifts:
            key = (obligation.level, obligation.group, shift)
            if obligation.contract_floor is not None:
                found.append(_floor(obligation, shift, own.get(key), policy.alpha))
            if obligation.notice_required:
                changed = against.get(key) if against else own.get(key)
                found.append(_notice(obligation, shift, changed, bool(against)))
    return tuple(each for each in found if each is not None)


def _floor(
    owed: Obligation, shift: str, cell: Cell | None, alpha: float
) -> TouchedObligation | None:
    floor = float(owed.contract_floor or 0) / 100
    name = cell_name(owed.level, owed.group, shift)
    promise = f"{owed.to} is promised {100 * floor:.1f} % accuracy for {name}"
    if cell is None:
        return _touched("contract_floor", owed, shift, f"{promise}, which was not measured.", floor)
    n, accuracy = int(cell["n"]), float(cell["quantized_accuracy"])
    lower = accuracy_lower_bound(round(accuracy * n), n, alpha)
    if lower >= floor:
        return None
    how = "below it" if accuracy < floor else "too few samples to show it"
    text = (
        f"{promise}; the candidate reaches {100 * accuracy:.1f} % on {plural(n, 'sample')} (at "
        f"least {100 * lower:.1f} %): {how}."
    )
    return _touched("contract_floor", owed, shift, text, floor, accuracy, lower, n)


def _notice(
    owed: Obligation, shift: str, cell: Cell | None, champion: bool
) -> TouchedObligation | None:
    name = group_name(owed.level, owed.group)
    if cell is None:
        text = f"{owed.to} must be told of changes to {name} under {shift}; it was not measured."
        return _touched("notice_required", owed, shift, text)
    flips, n = int(cell["flips"]), int(cell["n"])
    if flips == 0:
        return None
    since = "the version that serves" if champion else "the float model"
    text = (
        f"{owed.to} must be told before this release: {flips:,} of {plural(n, 'answer')} for "
        f"{name} under {shift} differ from {since}."
    )
    return _touched("notice_required", owed, shift, text, None, flips / n, None, n)


def _touched(
    kind: Kind,
    owed: Obligation,
    shift: str,
    text: str,
    floor: float | None = None,
    observed: float | None = None,
    lower: float | None = None,
    n: int = 0,
) -> TouchedObligation:
    return TouchedObligation(
        kind, owed.to, owed.level, owed.group, shift, observed, lower, floor, n, text
    )
