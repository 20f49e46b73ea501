import json

import numpy as np
import pandas as pd
import pytest

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.grouping import build_groups
from ptq_pipeline.judgement.building import AuditSetting, build_verdict
from ptq_pipeline.judgement.business import Business
from ptq_pipeline.judgement.verdict import Verdict

FIFTY = 50


SETTING = AuditSetting(pool_size=640)


def judged(world, policy, setting=SETTING):
    return build_verdict(world.scores, world.trials, world.index, policy, setting)


def judge(world, policy, setting=SETTING):
    return judged(world, policy, setting)[0]


@pytest.fixture(scope="module")
def good(build_world):
    return build_world([0, 1, 2, 1, 0] * 10)


def rules(verdict, subject):
    return [reason.rule for reason in verdict.reasons if reason.subject == subject]


def test_good_recipe_and_candidate_pass(good, policy):
    verdict = judge(good, policy)
    assert (verdict.result, verdict.recipe.result, verdict.candidate.result) == ("PASS",) * 3
    assert verdict.reasons == () and verdict.settle == ()
    assert verdict.recipe.shown_good == FIFTY
    assert "at least 90 %" in verdict.recipe.statement
    assert verdict.candidate.trial_id == "trial-00"
    assert verdict.recipe.pool_ratio == pytest.approx(0.05)


def test_hopeless_recipe_fails_early_and_names_the_worst_group(build_world, policy):
    verdict = judge(build_world([200] * 4), policy)
    assert (verdict.result, verdict.recipe.result, verdict.candidate.result) == ("FAIL",) * 3
    assert verdict.recipe.failed_after_draws == 4
    # Losses are taken from the first boots of the table: half of them dark.
    assert (verdict.worst.level, verdict.worst.shift) == ("class", "noise")
    assert verdict.worst.group == "boot"
    assert verdict.headline.startswith("FAIL: class boot under noise loses 40.0 points")
    assert rules(verdict, "recipe")[0] == "recipe.bad_draws"
    assert rules(verdict, "candidate")[0] == "candidate.shown_bad"


def test_a_proof_accuses_before_points_do(build_world, policy):
    # The small segment loses the same images, which are more of it and prove less.
    verdict, table = judged(build_world([200] * 4), policy)
    order = ["shown_bad", "open", "shown_good", "not_judged"]
    ranks = [order.index(status) for status in table["status"]]
    assert ranks == sorted(ranks) and len(set(ranks)) > 1
    for rank in set(ranks):
        rows = table[[each == rank for each in ranks]]
        assert (rows["drop_mean"] / rows["limit"]).is_monotonic_decreasing
    statuses = {cell.key: cell.status for cell in verdict.candidate.cells}
    assert statuses[verdict.worst.key] == "shown_bad"
    assert verdict.average_beside_worst.shift == verdict.worst.shift == "noise"
    assert verdict.average.shift == "clean"
    mean = verdict.average_beside_worst.drop_mean_over_draws
    assert f"the average under noise loses {100 * mean:.1f}" in verdict.headline


def test_three_draws_are_inconclusive_and_say_what_they_show(build_world, policy):
    verdict = judge(build_world([0, 0, 0]), policy)
    assert verdict.result == verdict.recipe.result == "INCONCLUSIVE"
    assert verdict.candidate.result == "PASS"
    assert verdict.recipe.statement.startswith("3 of 3 distinct draws shown good: at least 32 %")
    assert rules(verdict, "recipe") == ["recipe.draws_missing"]
    assert list(verdict.settle) == ["47 more draws, as preset."]


def test_of_sixty_draws_one_bad_one_is_allowed_and_two_are_not(build_world, policy):
    policy = policy.model_copy(update={"draws": 60})
    one = judge(build_world([0] * 59 + [200]), policy)
    two = judge(build_world([0] * 58 + [200] * 2), policy)
    assert (one.result, one.recipe.not_shown_good) == ("PASS", 1)
    assert (two.result, two.recipe.not_shown_good) == ("INCONCLUSIVE", 2)
    assert two.recipe.allowed_not_shown_good == 1
    reason = two.reasons[0]
    assert (reason.rule, reason.observed, reason.limit) == ("recipe.bad_draws", 2.0, 1.0)
    assert any("could pass" in sentence for sentence in two.settle)


def test_open_candidate_says_how_many_samples_would_settle_it(build_world, policy):
    verdict = judge(build_world([22] * FIFTY), policy)
    assert verdict.candidate.result == "INCONCLUSIVE"
    (first, *_) = [r for r in verdict.reasons if r.rule == "candidate.limit"]
    assert (first.group, first.shift, first.n) == ("boot", "noise", 500)
    assert first.interval[0] < first.observed < first.interval[1]
    assert any("more audit samples of class boot under noise" in s for s in verdict.settle)


def test_what_no_data_of_this_size_settles_is_said_without_a_number(build_world, policy):
    verdict = judge(build_world([25] * FIFTY), policy)
    (said,) = [s for s in verdict.settle if "class boot under noise" in s and "candidate" in s]
    assert said.startswith("Whether the candidate keeps the limit of class boot under noise cannot")


def test_failed_trials_are_bad_draws(good, policy):
    failed = good.trials["trial_id"].isin(["trial-03", "trial-04"])
    trials = good.trials.assign(status=np.where(failed, "failed", "done"))
    scores = good.scores[~good.scores["trial_id"].isin(["trial-03", "trial-04"])]
    verdict, _ = build_verdict(scores, trials, good.index, policy)
    assert verdict.recipe.failed_trials == verdict.recipe.not_shown_good == 2
    assert verdict.recipe.result == "INCONCLUSIVE"


def test_all_trials_failed_is_a_fail_without_candidate(good, policy):
    verdict, table = build_verdict(
        good.scores[:0], good.trials.assign(status="failed"), good.index, policy
    )
    assert (verdict.result, verdict.candidate.trial_id) == ("FAIL", None)
    assert rules(verdict, "candidate") == ["candidate.missing"]
    assert table.empty
    json.dumps(verdict.to_json(), allow_nan=False)


def test_identical_sets_are_one_draw(good, policy):
    index = good.index.assign(array_sha256="same")
    verdict, _ = build_verdict(good.scores, good.trials, index, policy)
    assert verdict.recipe.distinct_draws == 1
    assert verdict.recipe.identical_sets == 49
    assert verdict.recipe.result == "INCONCLUSIVE"


def test_trials_that_were_not_run_block_pass(good, policy):
    verdict, _ = build_verdict(
        good.scores[good.scores["trial_id"] != "trial-09"],
        good.trials[good.trials["trial_id"] != "trial-09"],
        good.index,
        policy,
    )
    assert verdict.recipe.result == "INCONCLUSIVE"
    assert "1 accepted calibration set have no trial" in verdict.reasons[0].text


def test_unjudged_critical_group_blocks_pass(good, policy):
    named = type(policy).model_validate(
        {
            **policy.to_json(),
            "critical": [{"level": "class", "group": "boot", "points": 0.1}],
        }
    )
    verdict = judge(good, named)
    assert verdict.result == "INCONCLUSIVE"
    assert {reason.rule for reason in verdict.reasons} == {"critical_not_judged"}
    (group,) = [g for g in verdict.groups_not_judged if g.critical]
    assert any(f"{group.needed_n - 500:,} more audit samples" in s for s in verdict.settle)


def test_clustered_data_is_refused_honestly(good, policy):
    samples = good.samples.assign(cluster=good.samples["sample_id"] // 2)
    groups = build_groups(samples, ("boot", "bag"), {"tone": ("dark", "light")})
    verdict = judge(good, policy, AuditSetting(groups))
    assert verdict.result == "INCONCLUSIVE"
    assert "clustered_data" in rules(verdict, "candidate")
    assert {c.status for c in verdict.candidate.cells if c.level == "average"} == {"open"}


def test_nothing_judged_is_never_a_pass(good, policy):
    limits = {
        level: {"points": 5.0, "min_size": 10_000}
        for level in ("average", "class", "segment", "intersection")
    }
    verdict = judge(good, type(policy).model_validate({"limits": limits}))
    assert verdict.result == "INCONCLUSIVE"
    assert verdict.worst is None
    assert "nothing_judged" in rules(verdict, "recipe")


def test_json_has_the_agreed_shape(good, policy):
    content = judge(good, policy).to_json()
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    assert set(content) == {
        *("schema_version", "result", "headline", "reasons", "settle", "recipe", "candidate"),
        *("worst", "worst_by_level", "average", "draw_spread", "groups_not_judged"),
        *("policy_hash", "policy", "ledger", "tolerance", "class_priors"),
        *("headline_sentence", "settle_sentences", "not_judged", "not_judged_sentence"),
        *("representatives", "components", "repeated_images", "business", "average_beside_worst"),
    }
    assert {"strategy", "draws", "alpha_image", "total_error_bound", "statement"} <= set(
        content["recipe"]
    )
    assert set(content["candidate"]["cells"][0]) == {
        *("level", "group", "shift", "n", "float_accuracy", "quantized_accuracy", "drop"),
        *("accuracy_lower", "interval", "lost", "gained", "flips"),
        *("limit", "judged", "status", "critical"),
    }
    assert set(content["worst_by_level"]) == {"class", "segment", "intersection"}
    assert content["average"]["shift"] == "clean"
    assert content["policy_hash"] == policy.hash


def test_table_holds_every_cell_with_its_spread(good, policy):
    verdict, table = judged(good, policy)
    assert len(table) == len(verdict.candidate.cells) == 18
    boot = table.query("group == 'boot' and shift == 'noise'").iloc[0]
    assert (boot["drop_min"], boot["drop_max"]) == (0, pytest.approx(2 / 500))
    assert boot["drop_mean"] == pytest.approx(0.8 / 500)
    ranks = table["status"].map(["shown_bad", "open", "shown_good", "not_judged"].index)
    assert ranks.is_monotonic_increasing


def test_order_of_rows_changes_nothing(good, policy):
    shuffled = {
        name: getattr(good, name).sample(frac=1, random_state=3) for name in ("trials", "index")
    }
    again, table = build_verdict(good.scores, **shuffled, policy=policy, setting=SETTING)
    before, same = judged(good, policy)
    assert again.to_json() == before.to_json()
    pd.testing.assert_frame_equal(table, same)


def test_a_verdict_that_was_written_is_read_and_written_again_the_same(good, policy):
    content = json.loads(json.dumps(judge(good, policy).to_json()))
    assert Verdict.read(content).to_json() == content
    earlier = {key: value for key, value in content.items() if key not in Verdict.added}
    for reason in earlier["reasons"]:
        del reason["sentence"]
    assert Verdict.read(earlier).to_json() == earlier
    with pytest.raises(InputError, match="the verdict is incomplete or damaged .result"):
        Verdict.read(content | {"result": "MAYBE"})
    with pytest.raises(InputError, match="write it again with worst_case_check"):
        Verdict.read({**content, "colour": "red"})


def test_money_is_as_certain_as_the_intervals_that_it_is_made_of(good, policy):
    prices = {"float_model": 0.10, "integer_model": 0.04}
    costs = {"boot": 1.0, "bag": 2.0}
    asked = {"requests_per_month": 1000, "error_cost": costs, "prices": prices}
    setting = AuditSetting(pool_size=640, business=Business.model_validate(asked))
    other = policy.model_copy(update={"alpha": 0.1, "alpha_fail": 0.01})
    view = judge(good, other, setting).business
    assert any("at 90 %" in text for text in view.assumptions)
