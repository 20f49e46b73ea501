"""What a drop costs and what integers save: numbers in, numbers out, assumptions spelled out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from ptq_pipeline.core.documents import Document, Interval
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.names import CLEAN
from ptq_pipeline.core.overlays import WITHOUT_NULL
from ptq_pipeline.judgement.candidate import JudgedCell
from ptq_pipeline.judgement.sentences import Sentence, say

HOUR_MS = 3_600_000


class Prices(Document):
    """What serving 1,000 requests costs."""

    float_model: float = Field(ge=0, allow_inf_nan=False)
    integer_model: float = Field(ge=0, allow_inf_nan=False)

    @property
    def saved_each(self) -> float:
        """What integers save per request."""
        return (self.float_model - self.integer_model) / 1000


class Latency(Document):
    """Serving priced by time: milliseconds of one machine per request, and the machine's price."""

    float_ms: float = Field(gt=0, allow_inf_nan=False)
    integer_ms: float = Field(gt=0, allow_inf_nan=False)
    machine_per_hour: float = Field(ge=0, allow_inf_nan=False)

    def prices(self) -> Prices:
        """Prices of 1,000 requests on a machine that is always busy."""
        each = 1000 * self.machine_per_hour / HOUR_MS
        return Prices(float_model=each * self.float_ms, integer_model=each * self.integer_ms)


class Business(Document):
    """Parameters of the business view.

    Attributes:
        requests_per_month: Answers a month; None asks for no view.
        level: The groups that costs are given for: ``class``, or a segment's column.
        error_cost: Cost of one more wrong answer, by group.
        default_error_cost: Of groups that ``error_cost`` does not name; None: every group must be.
        shares: Of each group among production's requests; those of the audit when left out.
        prices: Of serving; or else ``latency``.
        switching_cost: Paid once when the integer model is introduced.
    """

    requests_per_month: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    currency: str = "EUR"
    level: str = "class"
    error_cost: Annotated[dict[str, float], WITHOUT_NULL] = {}
    default_error_cost: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    shares: Annotated[dict[str, float] | None, WITHOUT_NULL] = None
    prices: Prices | None = None
    latency: Latency | None = None
    switching_cost: float = Field(default=0.0, ge=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for what, given in (("error_cost", self.error_cost), ("shares", self.shares or {})):
            for group, value in given.items():
                if not 0 <= value < float("inf"):
                    raise ValueError(f"{what} of '{group}' must not be negative, got {value}")
        if self.shares is not None and abs(sum(self.shares.values()) - 1) > 1e-6:
            raise ValueError(f"shares must sum to 1, they sum to {sum(self.shares.values()):g}")
        if self.requests_per_month is not None and (self.prices is None) == (self.latency is None):
            raise ValueError("give either prices or latency, to say what serving costs")
        return self

    def cost(self, group: str) -> float | None:
        """Cost of one wrong answer in a group, or None when it is missing."""
        return self.error_cost.get(group, self.default_error_cost)

    def check(self, groups: Mapping[str, Collection[str]]) -> None:
        """Check names and costs before any work; ``groups`` are those of :meth:`.Groups.by_column`.

        Raises:
            InputError: The level or a group does not exist, or a cost or share is missing.
        """
        if self.requests_per_month is None:
            return
        known = list(groups.get(self.level, ()))
        if not known:
            raise InputError(
                f"business.level: there are no groups of '{self.level}'; give 'class' or the name "
                "of a segment's column"
            )
        for what, given in (("error_cost", self.error_cost), ("shares", self.shares or {})):
            if unknown := sorted(set(given) - set(known)):
                raise InputError(
                    f"business.{what}: group '{unknown[0]}' is none of {', '.join(known)}"
                )
        if missing := [name for name in known if self.cost(name) is None]:
            raise InputError(
                f"business.error_cost: the cost of an error is missing for {', '.join(missing)}; "
                "give it, or 'default_error_cost'"
            )
        if self.shares is not None and set(self.shares) != set(known):
            lost = sorted(set(known) - set(self.shares))
            raise InputError(f"business.shares: the share is missing for {', '.join(lost)}")


class GroupCost(Document):
    """What one group's added errors cost a month.

    Attributes:
        share: Of all requests.
        error_cost: Of one wrong answer.
        errors_added: Negative where errors go away.
        break_even_drop: At which this group's errors alone cost as much as is saved.
    """

    group: str
    share: float
    error_cost: float
    errors_added: float
    errors_added_interval: Interval
    loss: float
    loss_interval: Interval
    break_even_drop: float | None


class BreakEven(Document):
    """Where nothing is left of the saving.

    Attributes:
        drop: The same drop in every group.
        cost_factor: By how much all costs of errors could grow.
        months: Until what is paid once has come back.
    """

    drop: float | None
    cost_factor: float | None
    months: float | None


class BusinessView(Document):
    """What switching to the candidate is expected to save and to cost a month.

    Losses are positive where errors are added; ``net`` is saving minus loss.
    """

    added: ClassVar[frozenset[str]] = frozenset({"assumption_sentences"})

    currency: str
    requests_per_month: float
    saving: float
    loss: float
    loss_interval: Interval
    net: float
    net_interval: Interval
    worst_group: str
    worst_group_loss: float
    worst_group_loss_interval: Interval
    break_even: BreakEven
    groups: tuple[GroupCost, ...]
    says: Literal["saves", "costs", "open"]
    assumptions: tuple[str, ...]
    assumption_sentences: tuple[Sentence, ...] = ()


def business_view(
    cells: Sequence[JudgedCell],
    business: Business,
    confidence: float,
    groups: Mapping[str, Collection[str]] | None = None,
) -> BusinessView | None:
    """What switching to the candidate is expected to save and to cost a month; None if not asked.

    Args:
        cells: The candidate's cells of the verdict, with intervals that hold together.
        business: Parameters.
        confidence: Of these intervals together.
        groups: As for :meth:`Business.check`; not needed where costs are given for classes.
    """
    requests = business.requests_per_month
    if requests is None:
        return None
    here = _priced_cells(cells, business, (groups or {}).get(business.level))
    prices = business.prices or (business.latency.prices() if business.latency else None)
    assert prices is not None
    saving, total = requests * prices.saved_each, sum(cell.n for cell in here)
    rows = [_group_cost(cell, business, cell.n / total, saving) for cell in here]
    loss = sum(row.loss for row in rows)
    low, high = (sum(row.loss_interval[end] for row in rows) for end in range(2))
    net, net_interval = saving - loss, (saving - high, saving - low)
    worst = max(rows, key=lambda row: row.loss)
    weighted = sum(row.share * row.error_cost for row in rows)
    assumptions = _assumptions(business, confidence)
    return BusinessView(
        currency=business.currency,
        requests_per_month=requests,
        saving=saving,
        loss=loss,
        loss_interval=(low, high),
        net=net,
        net_interval=net_interval,
        worst_group=worst.group,
        worst_group_loss=worst.loss,
        worst_group_loss_interval=worst.loss_interval,
        break_even=BreakEven(
            drop=saving / (requests * weighted) if weighted > 0 else None,
            cost_factor=saving / loss if loss > 0 else None,
            months=business.switching_cost / net if net > 0 else None,
        ),
        groups=tuple(rows),
        says="saves" if net_interval[0] > 0 else "costs" if net_interval[1] < 0 else "open",
        assumptions=tuple(sentence.text for sentence in assumptions),
        assumption_sentences=tuple(assumptions),
    )


def _priced_cells(
    cells: Sequence[JudgedCell], business: Business, names: Collection[str] | None
) -> list[JudgedCell]:
    """The clean cells of the groups that costs are given for."""
    level = business.level if business.level in ("class", "average") else "segment"
    here = [cell for cell in cells if (cell.shift, cell.level) == (CLEAN, level)]
    if names is not None or level == "segment":
        here = [cell for cell in here if cell.group in (names or ())]
    if not here:
        raise InputError(
            f"business: the candidate was not scored on groups of '{business.level}' under clean"
        )
    return here


def _group_cost(cell: JudgedCell, business: Business, share: float, saving: float) -> GroupCost:
    share = share if business.shares is None else business.shares[cell.group]
    cost = business.cost(cell.group)
    if cost is None:
        raise InputError(f"business.error_cost: the cost of an error is missing for {cell.group}")
    requests = float(business.requests_per_month or 0)
    low, high = (requests * share * bound for bound in cell.interval or (-1.0, 1.0))
    errors = requests * share * cell.drop
    per_point = requests * share * cost
    return GroupCost(
        group=cell.group,
        share=share,
        error_cost=cost,
        errors_added=errors,
        errors_added_interval=(low, high),
        loss=errors * cost,
        loss_interval=(low * cost, high * cost),
        break_even_drop=saving / per_point if per_point > 0 else None,
    )


def _assumptions(business: Business, confidence: float) -> list[Sentence]:
    shares = "business.shares_of_audit" if business.shares is None else "business.shares_given"
    serving = "business.prices" if business.prices is not None else "business.latency"
    return [
        say(shares, level=business.level),
        say("business.clean"),
        say("business.same_cost"),
        say(serving),
        say("business.intervals", confidence=confidence),
        say("business.exact"),
    ]
