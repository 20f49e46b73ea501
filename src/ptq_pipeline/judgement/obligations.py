"""What a release owes to people outside: floors that a contract promises, and notices.

Nothing here refuses a candidate. It lists what a release touches, so that somebody acknowledges it
by name and figure before the release, and the record says who.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any, Literal, Self

from ptq_pipeline.core.documents import CellDocument
from ptq_pipeline.core.group_ids import CellKey
from ptq_pipeline.judgement.candidate import ComparedCell, JudgedCell, MeasuredCell
from ptq_pipeline.judgement.policy import Obligation, Policy, obligation_name
from ptq_pipeline.judgement.sentences import Sentence, place_value, say

Kind = Literal["contract_floor", "notice_required"]
FIGURE = " = "
NOT_MEASURED = "not measured"
EPSILON = 1e-9


class TouchedObligation(CellDocument):
    """One obligation that a release of this candidate touches.

    Attributes:
        name: Its name; with the figure it is what acknowledges it.
        touched: Always true: what is not touched is not listed.
        kind: ``contract_floor`` or ``notice_required``.
        to: Whom it is owed to.
        observed: Accuracy of the candidate (a floor), or share of answers that change (a notice).
        lower: One-sided lower bound of that accuracy, by clusters where samples have them; None
            for a notice, and where the clusters are not known.
        floor: The promised accuracy, a fraction; None for a notice.
        n: Samples behind it.
        text: What it says, in English.
        sentence: The same by key.
    """

    name: str
    touched: bool = True
    kind: Kind
    to: str
    observed: float | None = None
    lower: float | None = None
    floor: float | None = None
    n: int = 0
    text: str
    sentence: Sentence | None = None

    @classmethod
    def of(
        cls, kind: Kind, owed: Obligation, shift: str, sentence: Sentence, **figures: Any
    ) -> Self:
        """Give one by its sentence; ``figures`` are ``observed``, ``lower``, ``floor``, ``n``."""
        place = {"level": owed.level, "group": owed.group, "shift": shift}
        named = {"name": obligation_name(owed.to, kind, **place), "kind": kind, "to": owed.to}
        said = {"text": sentence.text, "sentence": sentence}
        return cls.model_validate({**named, **place, **said, **figures})

    @property
    def _floored(self) -> bool:
        """Whether less is worse: accuracy is, a share of changed answers is not."""
        return self.kind == "contract_floor"

    @property
    def acknowledgement(self) -> str:
        """The text that acknowledges it: its name and the figure."""
        if self.observed is None:
            return f"{self.name}{FIGURE}{NOT_MEASURED}"
        # Rounded towards the worse, so that the text covers the figure that it shows.
        tenths = 1000 * self.observed
        worse = math.floor(tenths + EPSILON) if self._floored else math.ceil(tenths - EPSILON)
        return f"{self.name}{FIGURE}{worse / 10:.1f} %"

    def acknowledged_by(self, text: str) -> bool:
        """Whether an acknowledgement covers it: same name, and no worse a figure.

        Who has taken note of 88 % accuracy has not taken note of 80 %.
        """
        name, found, figure = text.rpartition(FIGURE)
        if not found or name != self.name:
            return False
        if self.observed is None:
            return figure == NOT_MEASURED
        try:
            noted = float(figure.removesuffix("%"))
        except ValueError:
            return False
        observed = 100 * self.observed
        return observed >= noted - EPSILON if self._floored else observed <= noted + EPSILON


def touched_obligations(
    policy: Policy, cells: Collection[JudgedCell], compared: Collection[ComparedCell] = ()
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
    own = {cell.key: cell for cell in cells}
    against: dict[CellKey, ComparedCell] = {cell.key: cell for cell in compared}
    found = []
    for owed in policy.obligations:
        for shift in owed.shifts:
            key = CellKey(owed.level, owed.group, shift)
            if owed.contract_floor is not None:
                found.append(_floor(owed, key, own.get(key)))
            if owed.notice_required:
                changed = against.get(key) if against else own.get(key)
                found.append(_notice(owed, key, changed, bool(against)))
    return tuple(each for each in found if each is not None)


def _floor(owed: Obligation, key: CellKey, cell: JudgedCell | None) -> TouchedObligation | None:
    floor = float(owed.contract_floor or 0) / 100
    promise = {"to": owed.to, "floor": floor, "cell": place_value(key)}
    if cell is None:
        sentence = say("floor.not_measured", **promise)
        return TouchedObligation.of("contract_floor", owed, key.shift, sentence, floor=floor)
    n, accuracy, lower = cell.n, cell.quantized_accuracy, cell.accuracy_lower
    if lower is not None and lower >= floor:
        return None
    reached = {**promise, "accuracy": accuracy, "n": n}
    if lower is None:
        sentence = say("floor.not_independent", **reached)
    else:
        name = "floor.below" if accuracy < floor else "floor.not_shown"
        sentence = say(name, **reached, lower=lower)
    figures = {"floor": floor, "observed": accuracy, "lower": lower, "n": n}
    return TouchedObligation.of("contract_floor", owed, key.shift, sentence, **figures)


def _notice(
    owed: Obligation, key: CellKey, cell: MeasuredCell | None, champion: bool
) -> TouchedObligation | None:
    owes = {"to": owed.to, "cell": place_value(key)}
    if cell is None:
        sentence = say("notice.not_measured", **owes)
        return TouchedObligation.of("notice_required", owed, key.shift, sentence)
    if cell.flips == 0:
        return None
    name = "notice.champion" if champion else "notice.float_model"
    sentence = say(name, **owes, flips=cell.flips, n=cell.n)
    figures = {"observed": cell.flips / cell.n, "n": cell.n}
    return TouchedObligation.of("notice_required", owed, key.shift, sentence, **figures)
