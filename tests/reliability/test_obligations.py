import pytest
from pydantic import ValidationError
from scipy.stats import binom

from ptq_pipeline.reliability import Obligation, Policy, touched_obligations
from ptq_pipeline.reliability.obligations import accuracy_lower_bound

LIMITS = {level: {"points": 5.0} for level in ("average", "class", "segment", "intersection")}
SANDAL = {"level": "class", "group": "Sandal"}


def policy(*obligations: dict) -> Policy:
    return Policy.model_validate({"limits": LIMITS, "obligations": obligations})


def cell(accuracy: float, n: int = 800, flips: int = 5, shift: str = "clean") -> dict:
    return {**SANDAL, "shift": shift, "n": n, "quantized_accuracy": accuracy, "flips": flips}


def test_a_floor_is_touched_unless_it_is_shown_to_be_reached() -> None:
    owed = policy({"to": "ACME", **SANDAL, "contract_floor": 90.0})
    assert touched_obligations(owed, [cell(0.95)]) == ()
    (below,) = touched_obligations(owed, [cell(0.88)])
    assert below.name == "ACME: contract_floor class Sandal clean"
    assert below.text.endswith("below it.")
    assert (below.observed, below.floor, below.n) == (0.88, 0.9, 800)
    (unsure,) = touched_obligations(owed, [cell(0.905)])
    assert unsure.text.endswith("too few samples to show it.")
    (unmeasured,) = touched_obligations(owed, [])
    assert unmeasured.text.endswith("which was not measured.")


def test_a_notice_counts_the_answers_that_change_for_users() -> None:
    owed = policy({"to": "ACME", **SANDAL, "notice_required": True, "shifts": ["clean", "noise"]})
    cells = [cell(0.95), cell(0.95, shift="noise", flips=0)]
    (clean,) = touched_obligations(owed, cells)
    assert "5 of 800 answers for class Sandal under clean differ from the float model" in clean.text
    served = [cell(0.95, flips=0), cell(0.95, shift="noise", flips=3)]
    (noise,) = touched_obligations(owed, cells, served)
    assert "under noise differ from the version that serves" in noise.text
    assert noise.observed == pytest.approx(3 / 800)


def test_names_differ_and_both_kinds_may_be_asked_for() -> None:
    owed = policy(
        {"to": "ACME", **SANDAL, "notice_required": True, "contract_floor": 99.0},
        {"to": "Globex", **SANDAL, "contract_floor": 99.0},
    )
    touched = touched_obligations(owed, [cell(0.9)])
    assert len({each.name for each in touched}) == 3
    assert all(each.to_json()["touched"] for each in touched)


def test_the_lower_bound_is_exact() -> None:
    for correct, n in ((95, 100), (1, 30), (30, 30)):
        bound = accuracy_lower_bound(correct, n, 0.05)
        assert binom.sf(correct - 1, n, bound) == pytest.approx(0.05)
    assert accuracy_lower_bound(0, 30, 0.05) == 0.0


def test_an_obligation_that_asks_for_nothing_is_refused() -> None:
    with pytest.raises(ValidationError, match="asks for nothing"):
        Obligation(to="ACME", **SANDAL)
