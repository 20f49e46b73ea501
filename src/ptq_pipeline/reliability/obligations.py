"""What a release owes to people outside: floors that a contract promises, and notices.

Nothing here refuses a candidate. It lists what a release touches, so that somebody acknowledges it
by name and figure before the release, and the record says who.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ptq_pipeline.reliability.policy import Obligation, Policy, obligation_name
from ptq_pipeline.reliability.sentences import Sentence, cell_value, say

Kind = Literal["contract_floor", "notice_required"]
Cell = Mapping[str, Any]
FIGURE = " = "
NOT_MEASURED = "not measured"
EPSILON = 1e-9


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
        lower: One-sided lower bound of that accuracy, by clusters where samples have them; None
            for a notice, and where the clusters are not known.
        floor: The promised accuracy, a fraction; None for a notice.
        n: Samples behind it.
        sentence: What it says.
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
    sentence: Sentence

    @property
    def name(self) -> str:
        """Its name; with the figure it is what :func:`acknowledgement` asks for."""
        return obligation_name(self.to, self.kind, self.level, self.group, self.shift)

    @property
    def text(self) -> str:
        """The sentence in English."""
        return self.sentence.text

    def to_json(self) -> dict[str, Any]:
        """JSON types."""
        said = {"text": self.text, "sentence": self.sentence.to_json()}
        return {"name": self.name, "touched": True, **asdict(self), **said}


def acknowledgement(touched: Mapping[str, Any]) -> str:
    """Return the text that acknowledges a touched obligation: its name and the figure.

    Args:
        touched: What :meth:`TouchedObligation.to_json` returned.

    Examples:
        >>> owed = {"name": "ACME: contract_floor class Sandal clean", "kind": "contract_floor"}
        >>> acknowledgement({**owed, "observed": 0.8817})
        'ACME: contract_floor class Sandal clean = 88.1 %'
    """
    observed = touched["observed"]
    if observed is None:
        return f"{touched['name']}{FIGURE}{NOT_MEASURED}"
    # Rounded towards the worse, so that the text covers the figure that it shows.
    tenths = 1000 * float(observed)
    worse = math.floor(tenths + EPSILON) if _floored(touched) else math.ceil(tenths - EPSILON)
    return f"{touched['name']}{FIGURE}{worse / 10:.1f} %"


def acknowledges(text: str, touched: Mapping[str, Any]) -> bool:
    """Whether an acknowledgement covers a touched obligation: same name, and no worse a figure.

    Who has taken note of 88 % accuracy has not taken note of 80 %.
    """
    name, found, figure = text.rpartition(FIGURE)
    if not found or name != touched["name"]:
        return False
    observed = touched["observed"]
    if observed is None:
        return figure == NOT_MEASURED
    try:
        noted = float(figure.removesuffix("%"))
    except ValueError:
        return False
    observed = 100 * float(observed)
    return observed >= noted - EPSILON if _floored(touched) else observed <= noted + EPSILON


def _floored(touched: Mapping[str, Any]) -> bool:
    """Whether less is worse: accuracy is, a share of changed answers is not."""
    return bool(touched["kind"] == "contract_floor")


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
                found.append(_floor(obligation, shift, own.get(key)))
            if obligation.notice_required:
                changed = against.get(key) if against else own.get(key)
                found.append(_notice(obligation, shift, changed, bool(against)))
    return tuple(each for each in found if each is not None)


def _floor(owed: Obligation, shift: str, cell: Cell | None) -> TouchedObligation | None:
    floor = float(owed.contract_floor or 0) / 100
    place = cell_value(owed.level, owed.group, shift)
    promise = {"to": owed.to, "floor": floor, "cell": place}
    if cell is None:
        sentence = say("floor.not_measured", **promise)
        return _touched("contract_floor", owed, shift, sentence, floor)
    n, accuracy = int(cell["n"]), float(cell["quantized_accuracy"])
    lower = cell["accuracy_lower"]
    if lower is not None and lower >= floor:
        return None
    reached = {**promise, "accuracy": accuracy, "n": n}
    if lower is None:
        sentence = say("floor.not_independent", **reached)
    else:
        key = "floor.below" if accuracy < floor else "floor.not_shown"
        sentence = say(key, **reached, lower=lower)
    return _touched("contract_floor", owed, shift, sentence, floor, accuracy, lower, n)


def _notice(
    owed: Obligation, shift: str, cell: Cell | None, champion: bool
) -> TouchedObligation | None:
    owes = {"to": owed.to, "cell": cell_value(owed.level, owed.group, shift)}
    if cell is None:
        return _touched("notice_required", owed, shift, say("notice.not_measured", **owes))
    flips, n = int(cell["flips"]), int(cell["n"])
    if flips == 0:
        return None
    key = "notice.champion" if champion else "notice.float_model"
    sentence = say(key, **owes, flips=flips, n=n)
    return _touched("notice_required", owed, shift, sentence, None, flips / n, None, n)


def _touched(
    kind: Kind,
    owed: Obligation,
    shift: str,
    sentence: Sentence,
    floor: float | None = None,
    observed: float | None = None,
    lower: float | None = None,
    n: int = 0,
) -> TouchedObligation:
    return TouchedObligation(
        kind, owed.to, owed.level, owed.group, shift, observed, lower, floor, n, sentence
    )
