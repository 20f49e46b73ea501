import pytest
from pydantic import ValidationError
from tests.verdicts import make_cell

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.judgement.business import Business, Latency, business_view

GROUPS = {"average": ["all"], "class": ["bag", "boot"], "tone": ["tone=dark", "tone=light"]}
PRICES = {"float_model": 0.10, "integer_model": 0.04}
COSTS = {"bag": 2.0, "boot": 0.5}


def business(**changes) -> Business:
    given = {"requests_per_month": 1_000_000, "error_cost": COSTS, "prices": PRICES}
    return Business.model_validate({**given, **changes})


def cell(group, drop, low, high, n=500, level="class", shift="clean"):
    return make_cell(group, level=level, shift=shift, n=n, drop=drop, interval=(low, high))


CELLS = [
    cell("bag", 0.00002, -0.00001, 0.00004, n=300),
    cell("boot", 0.0, -0.00002, 0.00002, n=100),
    cell("all", 0.5, 0.4, 0.6, level="average"),
    cell("bag", 0.5, 0.4, 0.6, shift="noise"),
    cell("bag & tone=dark", 0.5, 0.4, 0.6, level="intersection"),
]


def test_saving_loss_and_break_even_by_hand():
    view = business_view(CELLS, business(), 0.95)
    # 1,000,000 requests at 0.06 per 1,000; 750,000 bags lose 15 answers at 2.
    assert view.saving == pytest.approx(60)
    assert view.loss == pytest.approx(30)
    # Bags 750,000 x [-1e-5, 4e-5] x 2, boots 250,000 x [-2e-5, 2e-5] x 0.5.
    assert view.loss_interval == pytest.approx([-15 - 2.5, 60 + 2.5])
    assert view.net == pytest.approx(30)
    assert view.net_interval == pytest.approx([60 - 62.5, 60 + 17.5])
    assert view.says == "open"
    assert (view.worst_group, view.worst_group_loss) == ("bag", pytest.approx(30))
    assert view.break_even.cost_factor == pytest.approx(2)
    # 1,000,000 x (0.75 x 2 + 0.25 x 0.5) x drop = 60
    assert view.break_even.drop == pytest.approx(60 / 1_625_000)
    bag = view.groups[0]
    assert bag.share == pytest.approx(0.75)
    assert bag.break_even_drop == pytest.approx(60 / 1_500_000)
    assert any("spread over calibration draws" in text for text in view.assumptions)


def test_shares_of_production_replace_those_of_the_audit():
    view = business_view(CELLS, business(shares={"bag": 0.1, "boot": 0.9}), 0.95)
    assert view.loss == pytest.approx(4)
    assert "as given" in view.assumptions[0]


def test_latency_prices_a_busy_machine():
    prices = Latency(float_ms=3.6, integer_ms=1.8, machine_per_hour=2.0).prices()
    assert (prices.float_model, prices.integer_model) == pytest.approx((0.002, 0.001))
    view = business_view(
        CELLS,
        business(
            prices=None,
            latency={"float_ms": 3.6, "integer_ms": 1.8, "machine_per_hour": 2.0},
        ),
        0.95,
    )
    assert view.saving == pytest.approx(1.0)


def test_months_until_what_is_paid_once_has_come_back():
    assert business_view(
        CELLS, business(switching_cost=90), 0.95
    ).break_even.months == pytest.approx(3)
    dear = business(switching_cost=90, error_cost={"bag": 9.0, "boot": 1.0})
    assert business_view(CELLS, dear, 0.95).break_even.months is None


def test_it_says_plainly_what_the_interval_shows():
    cheap = business(error_cost={"bag": 0.1, "boot": 0.1})
    assert business_view(CELLS, cheap, 0.95).says == "saves"
    bad = [cell("bag", 0.1, 0.05, 0.15), cell("boot", 0.0, 0.0, 0.0)]
    assert business_view(bad, business(), 0.95).says == "costs"
    free = business_view(CELLS, business(error_cost={}, default_error_cost=0.0), 0.95)
    assert free.break_even.to_json() == {"drop": None, "cost_factor": None, "months": 0.0}


def test_segments_may_carry_the_costs():
    tones = [cell("tone=dark", 0.01, 0.0, 0.02, level="segment")]
    tones += [cell("tone=light", 0.0, 0.0, 0.0, level="segment")]
    priced = business(level="tone", error_cost={}, default_error_cost=1.0)
    priced.check(GROUPS)
    assert business_view(tones, priced, 0.95, GROUPS).loss == pytest.approx(5000)


def test_a_column_whose_name_begins_another_one_takes_no_cell_of_it():
    cells = [cell("a=c", 0.01, 0.0, 0.02, level="segment", n=100)]
    cells += [cell("a=b=c", 0.5, 0.4, 0.6, level="segment", n=100)]
    groups = {"a": ["a=c"], "a=b": ["a=b=c"]}
    priced = business(level="a", error_cost={}, default_error_cost=1.0)
    assert [g.group for g in business_view(cells, priced, 0.95, groups).groups] == ["a=c"]


def test_without_requests_there_is_no_view():
    Business().check(GROUPS)
    assert business_view(CELLS, Business(), 0.95) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"error_cost": {"bag": -1.0}}, "error_cost of 'bag' must not be negative"),
        ({"error_cost": {"bag": float("nan")}}, "must not be negative"),
        ({"default_error_cost": -1}, "default_error_cost"),
        ({"prices": {"float_model": -1, "integer_model": 0}}, "float_model"),
        ({"prices": None}, "either prices or latency"),
        ({"requests_per_month": 0}, "requests_per_month"),
        ({"shares": {"bag": 0.5}}, "shares must sum to 1"),
        ({"shares": {"bag": 1.5, "boot": -0.5}}, "shares of 'boot'"),
        ({"cost": 1}, "cost"),
    ],
)
def test_bad_numbers_are_refused(changes, message):
    with pytest.raises(ValidationError, match=message):
        business(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"error_cost": {"bag": 1.0}}, "cost of an error is missing for boot"),
        ({"error_cost": {**COSTS, "hat": 1.0}}, "group 'hat' is none of bag, boot"),
        ({"level": "colour"}, "no groups of 'colour'"),
        ({"shares": {"bag": 1.0}}, "share is missing for boot"),
        ({"shares": {"bag": 0.5, "hat": 0.5}}, "business.shares: group 'hat'"),
    ],
)
def test_names_are_checked_before_any_work(changes, message):
    with pytest.raises(InputError, match=message):
        business(**changes).check(GROUPS)
