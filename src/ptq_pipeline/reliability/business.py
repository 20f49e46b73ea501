"""What a drop costs and what integers save: numbers in, numbers out, assumptions spelled out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ptq_pipeline.errors import InputError
from ptq_pipeline.reliability.sentences import Sentence, say

CLEAN = "clean"
HOUR_MS = 3_600_000


class Prices(BaseModel):
    """What serving 1,000 requests costs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    float_model: float = Field(ge=0, allow_inf_nan=False)
    integer_model: float = Field(ge=0, allow_inf_nan=False)


class Latency(BaseModel):
    """Serving priced by time: milliseconds of one machine per request, and the machine's price."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    float_ms: float = Field(gt=0, allow_inf_nan=False)
    integer_ms: float = Field(gt=0, allow_inf_nan=False)
    machine_per_hour: float = Field(ge=0, allow_inf_nan=False)

    def prices(self) -> Prices:
        """Return prices of 1,000 requests on a machine that is always busy."""
        each = 1000 * self.machine_per_hour / HOUR_MS
        return Prices(float_model=each * self.float_ms, integer_model=each * self.integer_ms)


class Business(BaseModel):
    """Parameters of the business view.

    Attributes:
        requests_per_month: answers a month; None asks for no view.
        currency: its name, for texts.
        level: the groups that costs are given for: ``class``, or a segment's column.
        error_cost: cost of one more wrong answer, by group.
        default_error_cost: of groups that ``error_cost`` does not name; None: every group must be.
        shares: share of each group among production's requests; those of the audit when left out.
        prices: of serving; or
        latency: measured times and the price of a machine.
        switching_cost: paid once when the integer model is introduced.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    requests_per_month: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    currency: str = "EUR"
    level: str = "class"
    error_cost: dict[str, float] = {}
    default_error_cost: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    shares: dict[str, float] | None = None
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
        """Return the cost of one wrong answer in a group, or None when it is missing."""
        return self.error_cost.get(group, self.default_error_cost)

    def check(self, groups: Mapping[str, Collection[str]]) -> None:
        """Check names and costs before any work.

        Args:
            groups: names of the groups under ``class`` and under each segment's column, see
                :meth:`.Groups.by_column`.

        Raises:
            InputError: the level or a group does not exist, or a cost or share is missing.
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
            unknown = sorted(set(given) - set(known))
            if unknown:
                raise InputError(
                    f"business.{what}: group '{unknown[0]}' is none of {', '.join(known)}"
                )
        missing = [name for name in known if self.cost(name) is None]
        if missing:
            raise InputError(
                f"business.error_cost: the cost of an error is missing for {', '.join(missing)}; "
                "give it, or 'default_error_cost'"
            )
        if self.shares is not None and set(self.shares) != set(known):
            lost = sorted(set(known) - set(self.shares))
            raise InputError(f"business.shares: the share is missing for {', '.join(lost)}")


def business_view(
    cells: Sequence[Mapping[str, Any]],
    business: Business,
    confidence: float,
    groups: Mapping[str, Collection[str]] | None = None,
) -> dict[str, Any] | None:
    """Return what switching to the candidate is expected to save and to cost a month.

    Args:
        cells: the candidate's cells of the verdict: ``level``, ``group``, ``shift``, ``n``,
            ``drop``, ``interval`` (simultaneous over all cells).
        business: parameters.
        confidence: of these intervals together.
        groups: names of the groups by segment column, as for :meth:`Business.check`; not needed
            where costs are given for classes.

    Returns:
        JSON-ready mapping, or None when no view was asked for. Losses are positive where errors are
        added; ``net`` is saving minus loss; every interval is ``[low, high]``.
    """
    if business.requests_per_month is None:
        return None
    names = (groups or {}).get(business.level)
    level = business.level if business.level in ("class", "average") else "segment"
    here = [
        cell
        for cell in cells
        if (cell["shift"], cell["level"]) == (CLEAN, level)
        and (cell["group"] in names if names is not None else level != "segment")
    ]
    if not here:
        raise InputError(
            f"business: the candidate was not scored on groups of '{business.level}' under clean"
        )
    total = sum(cell["n"] for cell in here)
    rows = [_row(cell, business, cell["n"] / total) for cell in here]
    prices = business.prices
    if prices is None:
        assert business.latency is not None
        prices = business.latency.prices()
    per_request = (prices.float_model - prices.integer_model) / 1000
    saving = business.requests_per_month * per_request
    loss = [sum(row["loss"][end] for row in rows) for end in range(3)]
    net = [saving - loss[0], saving - loss[2], saving - loss[1]]
    worst = max(rows, key=lambda row: row["loss"][0])
    assumptions = _assumptions(business, confidence)
    return {
        "currency": business.currency,
        "requests_per_month": business.requests_per_month,
        "saving": saving,
        "loss": loss[0],
        "loss_interval": loss[1:],
        "net": net[0],
        "net_interval": net[1:],
        "worst_group": worst["group"],
        "worst_group_loss": worst["loss"][0],
        "worst_group_loss_interval": worst["loss"][1:],
        "break_even": _break_even(rows, saving, loss, net, business),
        "groups": [
            {
                "group": row["group"],
                "share": row["share"],
                "error_cost": row["cost"],
                "errors_added": row["errors"][0],
                "errors_added_interval": row["errors"][1:],
                "loss": row["loss"][0],
                "loss_interval": row["loss"][1:],
                "break_even_drop": _share(saving, business.requests_per_month, row),
            }
            for row in rows
        ],
        "says": _says(net),
        "assumptions": [sentence.text for sentence in assumptions],
        "assumption_sentences": [sentence.to_json() for sentence in assumptions],
    }


def _row(cell: Mapping[str, Any], business: Business, share: float) -> dict[str, Any]:
    group = str(cell["group"])
    share = share if business.shares is None else business.shares[group]
    cost = business.cost(group)
    if cost is None:
        raise InputError(f"business.error_cost: the cost of an error is missing for {group}")
    requests = float(business.requests_per_month or 0) * share
    drops = [cell["drop"], *cell["interval"]]
    errors = [requests * drop for drop in drops]
    return {
        "group": group,
        "share": share,
        "cost": cost,
        "errors": errors,
        "loss": [each * cost for each in errors],
    }


def _share(saving: float, requests: float, row: Mapping[str, Any]) -> float | None:
    """Return the drop at which this group's errors alone cost as much as is saved."""
    per_point = requests * row["share"] * row["cost"]
    return saving / per_point if per_point > 0 else None


def _break_even(
    rows: Sequence[Mapping[str, Any]],
    saving: float,
    loss: Sequence[float],
    net: Sequence[float],
    business: Business,
) -> dict[str, float | None]:
    requests = float(business.requests_per_month or 0)
    weighted = sum(row["share"] * row["cost"] for row in rows)
    return {
        # The same drop in every group at which nothing is left of the saving.
        "drop": saving / (requests * weighted) if weighted > 0 else None,
        # By how much all costs of errors could grow.
        "cost_factor": saving / loss[0] if loss[0] > 0 else None,
        # Until what is paid once has come back.
        "months": business.switching_cost / net[0] if net[0] > 0 else None,
    }


def _says(net: Sequence[float]) -> str:
    if net[1] > 0:
        return "saves"
    return "costs" if net[2] < 0 else "open"


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
