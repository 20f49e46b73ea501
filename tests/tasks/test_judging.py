import numpy as np
import pandas as pd
import pytest
from tests.tasks.tables import answers, right_or_wrong, scores

from ptq_pipeline.core.canonical import canonical_json
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.judgement.verdict import Verdict
from ptq_pipeline.statistics.betting import MOST_KINDS, Units, units_below, units_interval
from ptq_pipeline.statistics.interval import drop_interval
from ptq_pipeline.tasks.given import given_outcomes
from ptq_pipeline.tasks.judging import judge_table, table_policy, what_can_be_shown
from ptq_pipeline.tasks.reading import texts_of


def judged(table, limits=None, candidate=None, **content):
    texts = pd.DataFrame({name: texts_of(table[name]) for name in table})
    given = given_outcomes(texts, "the table")
    policy = table_policy(content, limits or {}, len(given.draws))
    return judge_table(given, policy, candidate)


def cell(verdict, level, group="all"):
    return next(c for c in verdict.candidate.cells if (c.level, c.group) == (level, group))


@pytest.mark.parametrize(
    ("table", "result"),
    [
        (answers(lost=3), "PASS"),
        (answers(lost=30), "INCONCLUSIVE"),
        (answers(lost=150), "FAIL"),
        (right_or_wrong(lost=3), "PASS"),
        (right_or_wrong(lost=150), "FAIL"),
        (scores(loss=0.003), "PASS"),
        (scores(loss=0.06), "FAIL"),
    ],
)
def test_one_model_passes_fails_or_stays_open(table, result):
    verdict = judged(table).verdict
    assert verdict.result == verdict.candidate.result == result
    assert verdict.recipe.result == "NONE" and verdict.recipe.drawn == 0
    assert verdict.candidate.set_id is None and verdict.candidate.chosen_on is None
    assert verdict.tolerance is None and verdict.recipe.worst_draws == ()
    assert "One model was judged" in verdict.recipe.statement
    assert verdict.headline.startswith(result) and "draw" not in verdict.headline
    assert {reason.subject for reason in verdict.reasons} <= {"candidate"}


def test_it_speaks_of_units_and_leaves_names_as_they_are():
    table = answers(lost=30).assign(shop=["image of five"] * 5 + ["other"] * 2995)
    verdict = judged(table).verdict
    said = [verdict.not_judged, *verdict.settle, *(each.text for each in verdict.reasons)]
    assert "segment shop=image of five (5 units, needs" in verdict.not_judged
    assert any("segment shop=image of five has 5 units and needs" in each for each in said)
    assert "image" not in " ".join(said).replace("shop=image of five", "")


def test_its_figures_are_those_of_the_exact_tests():
    verdict = judged(answers(lost=30)).verdict
    average = cell(verdict, "average")
    assert (average.lost, average.gained, average.flips) == (30, 0, 30)
    expected = drop_interval(30, 0, 3000, 0.05 / len(verdict.candidate.cells))
    assert average.interval == pytest.approx(expected)


def test_scores_are_judged_by_bets_on_their_differences():
    table = scores()
    verdict = judged(table).verdict
    drop = (table["float_ok"] - table["quantized_ok"]).to_numpy()
    share = 0.05 / len(verdict.candidate.cells)
    expected = units_interval(Units.of(np.ones(len(drop)), drop), share)
    average = cell(verdict, "average")
    assert average.interval == pytest.approx(expected)
    assert average.drop == pytest.approx(drop.mean())
    assert verdict.source.kind == "scores"


def test_scores_in_clusters_are_judged_by_cluster():
    table = scores(600)
    table["cluster"] = np.arange(600) // 6
    alone, together = judged(scores(600)).verdict, judged(table).verdict
    width = [np.ptp(cell(each, "average").interval) for each in (alone, together)]
    assert width[1] > width[0]


def test_very_many_scores_are_rounded_against_the_model():
    rng = np.random.default_rng(0)
    drop = rng.exponential(0.01, 3 * MOST_KINDS)
    exact = Units.of(np.ones(len(drop)), drop)
    coarse = exact.coarse()
    assert len(coarse.count) < 1000 and coarse.count.sum() == len(drop)
    assert exact.drop <= coarse.drop <= exact.drop + 1 / 4096
    few = Units.of(np.ones(100), drop[:100])
    assert few.coarse() is few
    low, high = units_interval(exact, 0.05)
    assert low < exact.drop < high


def test_draws_are_judged_as_a_recipe_too():
    def draws(lost, count=50):
        parts = [answers(lost=lost).assign(draw=number) for number in range(count)]
        return pd.concat(parts)

    good = judged(draws(3)).verdict
    assert (good.result, good.recipe.result, good.candidate.result) == ("PASS",) * 3
    assert good.recipe.draws == good.recipe.distinct_draws == 50
    few = judged(draws(3, count=3)).verdict
    assert (few.result, few.recipe.result, few.candidate.result) == (
        "INCONCLUSIVE", "INCONCLUSIVE", "PASS",
    )  # fmt: skip
    bad = judged(draws(150, count=10)).verdict
    assert bad.recipe.result == bad.candidate.result == "FAIL"


def test_the_candidate_is_named_or_chosen_on_selection_or_the_first_draw():
    parts = [answers(lost=lost).assign(draw=name) for name, lost in (("a", 9), ("b", 2), ("c", 5))]
    table = pd.concat(parts)

    def lost(verdict):
        return cell(verdict, "average").lost

    assert lost(judged(table).verdict) == 9
    assert lost(judged(table, candidate="c").verdict) == 5
    with pytest.raises(InputError, match="no draw 'd' to be the candidate; the draws: a, b, c"):
        judged(table, candidate="d")
    with pytest.raises(InputError, match="none: the table has no column 'draw'"):
        judged(answers(), candidate="a")
    table["split"] = np.where(table["unit_id"] < "u00300", "selection", "audit")
    chosen = judged(table).verdict
    assert chosen.candidate.chosen_on == "selection"
    assert chosen.candidate.trial_id.endswith("00001"), "the one that lost least on selection"
    assert cell(chosen, "average").n == 2700


def test_the_verdict_is_read_back_and_says_what_was_judged():
    verdict = judged(answers(lost=3)).verdict
    again = Verdict.read(verdict.to_json())
    assert canonical_json(again.to_json()) == canonical_json(verdict.to_json())
    assert again.source.units == 3000 and len(again.source.sha256) == 64
    assert verdict.candidate.trial_id.startswith(again.source.sha256[:16])


def test_limits_come_from_options_then_the_file_then_what_is_shipped():
    policy = table_policy({"limits": {"class": {"points": 6.0}}}, {"segment": 5.0}, 0)
    points = [policy.limits.of(level).points for level in ("average", "class", "segment")]
    assert points == [1.0, 6.0, 5.0]
    assert policy.limits.of("intersection").min_size == 130
    assert table_policy({}, {"class": 0.5}, 0).limits.average.points == 0.5
    assert table_policy({}, {}, 30).draws == 30
    assert table_policy({"draws": 50}, {}, 30).draws == 50
    with pytest.raises(InputError, match="'clas' is no level; the levels are average, class"):
        table_policy({}, {"clas": 3}, 0)
    with pytest.raises(InputError, match="policy: alfa: Extra inputs"):
        table_policy({"alfa": 0.1}, {}, 0)


def test_a_policy_that_names_what_is_not_there_is_refused():
    critical = [{"level": "class", "group": "class 7"}]
    with pytest.raises(InputError, match="there is no class 'class 7'"):
        judged(answers(), critical=critical)
    with pytest.raises(InputError, match="these outcomes are scores: leave class_priors out"):
        judged(scores().assign(label=answers()["label"]), class_priors={"x": {
            f"class {c}": 1.0 for c in range(5)
        }})  # fmt: skip


def test_a_float_model_that_is_no_better_than_chance_is_an_error():
    table = answers(float_wrong=0.85)
    with pytest.raises(InputError, match=r"right on 1\d\.\d % of the 3,000 units.*chance is 20 %"):
        judged(table)
    with pytest.raises(InputError, match=r"the floor of 10.0 %: it has nothing to lose"):
        judged(right_or_wrong().assign(float_ok=0, quantized_ok=0))


def test_a_group_in_which_the_float_model_is_poor_blocks_a_pass_and_is_named():
    table = answers(lost=0)
    dark = table["tone"] == "dark"
    table.loc[dark, ["float_answer", "quantized_answer"]] = "class 9"
    verdict = judged(table).verdict
    assert verdict.result == "INCONCLUSIVE"
    assert any(r.rule == "float_floor" and r.group == "tone=dark" for r in verdict.reasons)
    allowed = judged(table, allow_not_judged=[{"level": "segment", "group": "tone=dark"}]).verdict
    assert allowed.result == "PASS"


def test_what_the_units_can_show_is_said_from_counts_alone():
    found = judged(answers(lost=30))
    policy = found.verdict.policy
    lines = what_can_be_shown(found.given, policy, found.verdict)
    assert len(lines) == 3 and "segment tone=" in lines[2]
    assert "3,000 units, can show a drop below 0.1 points if nothing is lost" in lines[0]
    other = judged(answers(lost=0))
    assert what_can_be_shown(other.given, policy, other.verdict) == lines


DRAWN = {
    # Each has a mean loss of 4 points, the limit: the worst case of a wrong PASS.
    "small steps": lambda rng: rng.beta(1, 24, 200),
    "all or nothing": lambda rng: (rng.random(200) < 0.04).astype(float),
    "gains and losses": lambda rng: rng.choice([1.0, -1.0, 0.0], 200, p=[0.12, 0.08, 0.8]),
}


@pytest.mark.parametrize("name", DRAWN)
def test_scores_at_their_limit_pass_no_more_often_than_alpha(name):
    rng, runs = np.random.default_rng(0), 1000
    passed = sum(
        units_below(Units.of(np.ones(200), DRAWN[name](rng)), 0.04, 0.05) for _ in range(runs)
    )
    assert passed / runs <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / runs)
