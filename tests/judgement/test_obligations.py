import numpy as np
import pytest
from pydantic import ValidationError
from scipy.stats import binom
from tests.verdicts import make_cell

from ptq_pipeline.judgement.candidate import ComparedCell, JudgedCell
from ptq_pipeline.judgement.decision import touched_obligations
from ptq_pipeline.judgement.judging import accuracy_lower_bound, clustered_accuracy_lower_bound
from ptq_pipeline.judgement.policy import Obligation, Policy

LIMITS = {level: {"points": 5.0} for level in ("average", "class", "segment", "intersection")}
SANDAL = {"level": "class", "group": "Sandal"}


def policy(*obligations: dict) -> Policy:
    return Policy.model_validate({"limits": LIMITS, "obligations": obligations})


def cell(accuracy: float, n: int = 800, flips: int = 5, shift: str = "clean") -> JudgedCell:
    lower = accuracy_lower_bound(round(accuracy * n), n, 0.05)
    own = {"quantized_accuracy": accuracy, "accuracy_lower": lower, "flips": flips}
    return make_cell("Sandal", shift=shift, n=n, **own)


def served(accuracy: float, **figures: object) -> ComparedCell:
    """The same against what serves."""
    own = cell(accuracy, **figures).model_dump(exclude={"accuracy_lower", "critical"})
    return ComparedCell.model_validate(own)


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
    against = [served(0.95, flips=0), served(0.95, shift="noise", flips=3)]
    (noise,) = touched_obligations(owed, cells, against)
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


def test_an_acknowledgement_covers_its_figure_and_none_that_is_worse() -> None:
    owed = policy({"to": "ACME", **SANDAL, "contract_floor": 95.0, "notice_required": True})
    small, large = (
        touched_obligations(owed, [c])
        for c in (
            cell(0.9301, flips=12),
            cell(0.8711, flips=90),
        )
    )
    texts = [each.acknowledgement for each in small]
    assert texts == [
        "ACME: contract_floor class Sandal clean = 93.0 %",
        "ACME: notice_required class Sandal clean = 1.5 %",
    ]
    for text, now, later in zip(texts, small, large, strict=True):
        assert now.acknowledged_by(text)
        assert not later.acknowledged_by(text), "a small loss was noted, not a large one"
        assert now.acknowledged_by(later.acknowledgement)
    assert not small[1].acknowledged_by(texts[0])
    for text in (small[0].name, f"{small[0].name} = soon", f"{small[0].name} = "):
        assert not small[0].acknowledged_by(text)


def test_what_was_not_measured_is_acknowledged_as_that() -> None:
    owed = policy({"to": "ACME", **SANDAL, "contract_floor": 95.0})
    (unmeasured,) = touched_obligations(owed, [])
    text = unmeasured.acknowledgement
    assert text.endswith(" = not measured")
    assert unmeasured.acknowledged_by(text)
    (low,) = touched_obligations(owed, [cell(0.2)])
    assert not low.acknowledged_by(text)
    assert not unmeasured.acknowledged_by(low.acknowledgement)


def test_a_floor_of_samples_in_unknown_clusters_cannot_be_shown() -> None:
    owed = policy({"to": "ACME", **SANDAL, "contract_floor": 90.0})
    (touched,) = touched_obligations(owed, [cell(0.99).model_copy(update={"accuracy_lower": None})])
    assert touched.text.endswith("which are not independent: it cannot be shown.")


def test_the_bound_by_clusters_keeps_its_error_where_the_one_by_samples_does_not() -> None:
    """Scenes of ten images that are right or wrong together; the true accuracy is the floor."""
    rng = np.random.default_rng(7)
    alpha, floor, size, scenes, runs = 0.05, 0.9, 10, 120, 1_500
    right = rng.random((runs, scenes)) < floor
    sizes = np.full(scenes, float(size))
    by_clusters = [clustered_accuracy_lower_bound(sizes, size * row, alpha) for row in right]
    by_samples = [accuracy_lower_bound(size * n, size * scenes, alpha) for n in right.sum(axis=1)]
    wrong = [float(np.mean(np.array(bounds) > floor)) for bounds in (by_clusters, by_samples)]
    # Three standard errors of a share of 5 % over 1,500 runs.
    assert wrong[0] <= alpha + 3 * np.sqrt(alpha * (1 - alpha) / runs)
    assert wrong[1] > 0.2
    assert max(by_clusters) > 0.85, "it is a bound that shows something"


def test_scenes_without_an_error_show_what_that_many_samples_would() -> None:
    many = clustered_accuracy_lower_bound(np.full(400, 5.0), np.full(400, 5.0), 0.05)
    few = clustered_accuracy_lower_bound(np.full(40, 5.0), np.full(40, 5.0), 0.05)
    single = [accuracy_lower_bound(n, n, 0.05) for n in (400, 2_000)]
    assert few < many < single[0] < single[1]
