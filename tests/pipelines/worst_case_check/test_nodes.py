import json
from collections import Counter
from importlib import resources
from pathlib import Path

import jsonschema
import numpy as np
import pandas as pd
import pytest
import yaml
from tests.verdicts import make_cell, make_verdict

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.group_ids import GroupDefinitions
from ptq_pipeline.core.grouping import SubgroupScoringParameters, build_groups
from ptq_pipeline.core.tally import score
from ptq_pipeline.judgement.baseline import Baseline
from ptq_pipeline.judgement.business import Business
from ptq_pipeline.judgement.cells import needed_samples
from ptq_pipeline.judgement.ledger import Asking, AuditImages, Ledger
from ptq_pipeline.judgement.policy import Policy
from ptq_pipeline.judgement.verdict import Verdict
from ptq_pipeline.pipelines.subgroup_scoring.nodes import define_groups
from ptq_pipeline.pipelines.worst_case_check import create_pipeline
from ptq_pipeline.pipelines.worst_case_check.nodes import (
    check_names,
    compare,
    gather_setting,
    judge,
    sum_up,
    tabulate_plots,
)
from ptq_pipeline.statistics.draws import split_budget
from ptq_pipeline.stress.shifts import StressParameters

CONFIGURATION = Path(__file__).parents[3] / "conf" / "base"
SCORING = SubgroupScoringParameters(intersection_min_size=1)
DEFINITIONS = GroupDefinitions(
    classes=("boot", "bag"), segments={"tone": {"names": ["dark", "light"]}}
)
STRESS = StressParameters({"clean": {}})


NOTICE = {"notice_required": True}
BAG = {"level": "class", "group": "bag"}


def read_group(name):
    return yaml.safe_load((CONFIGURATION / f"parameters_{name}.yml").read_text())[name]


def parameters(**changes):
    limits = {level: {"points": 5.0} for level in ("average", "class", "segment", "intersection")}
    return Policy.model_validate({"limits": limits, **changes})


def check(samples, policy, **given):
    return check_names(define_groups(samples, DEFINITIONS, SCORING), policy, STRESS, **given)


def setting_of(samples, *answers, definitions=DEFINITIONS, **given):
    groups = define_groups(samples, definitions, SCORING)
    return gather_setting(groups, samples, None, *answers, **given)


@pytest.fixture
def samples():
    position = np.arange(2000)
    return pd.DataFrame(
        {
            "sample_id": position,
            "split": np.repeat(["pool", "selection", "audit"], [800, 200, 1000]),
            "label": position % 2,
            "tone": np.where(position % 4 < 2, "dark", "light"),
        }
    )


@pytest.fixture
def tables(samples):
    """Three draws; the last one calls every bag a boot."""
    evaluated = samples[samples["split"] != "pool"]
    answers = evaluated[["sample_id"]].assign(shift="clean", predicted=evaluated["label"])
    predictions = pd.concat([answers.assign(trial_id=f"t{i}") for i in range(3)])
    predictions.loc[predictions["trial_id"] == "t2", "predicted"] = 0
    index = pd.DataFrame(
        {"set_id": list("abc"), "strategy": "random", "role": "evidence", "draw": range(3)}
    ).assign(valid=True, size=80)
    trials = index[["set_id", "strategy", "role", "draw"]].assign(
        trial_id=["t0", "t1", "t2"], status="done"
    )
    groups = build_groups(samples, DEFINITIONS.classes, {"tone": ("dark", "light")})
    return score(predictions, answers, groups, trials), trials, index


def test_verdict_and_table_agree(samples, tables):
    policy = check(samples, parameters())
    found, table = judge(*tables, policy, setting_of(samples))
    verdict = found.to_json()
    assert (verdict["result"], verdict["candidate"]["trial_id"]) == ("INCONCLUSIVE", "t0")
    assert verdict["recipe"]["pool_ratio"] == pytest.approx(80 / 800)
    assert verdict["recipe"]["shown_bad"] == 1
    assert verdict["worst"]["group"] == "bag"
    assert verdict["worst"]["drop_worst_draw"] == 1.0
    bag = table.set_index(["level", "group"]).loc[("class", "bag")]
    assert bag["drop_mean"] == pytest.approx(verdict["worst"]["drop_mean_over_draws"])


def test_the_verdict_separates_draws_from_images_and_keeps_its_schema(samples, tables):
    evaluated = samples[samples["split"] != "pool"]
    answers = evaluated[["sample_id"]].assign(shift="clean", predicted=evaluated["label"])
    draws = pd.concat([answers.assign(trial_id=f"t{i}") for i in range(3)])
    draws.loc[draws["trial_id"] == "t2", "predicted"] = 0
    policy = parameters(class_priors={"bags": {"boot": 1, "bag": 3}})
    business = Business.model_validate(
        {
            "requests_per_month": 1000,
            "default_error_cost": 0.1,
            "prices": {"float_model": 2, "integer_model": 1},
        }
    )
    verdict = judge(*tables, policy, setting_of(samples, draws, answers), business)[0].to_json()
    by_group = {each["group"]: each for each in verdict["components"]}
    assert set(by_group) == {"all", "boot", "bag", "tone=dark", "tone=light"}
    assert by_group["bag"]["draw_share"] == pytest.approx(1)
    assert by_group["boot"]["sd_between_draws"] == 0
    folder = resources.files("ptq_pipeline.reporting").joinpath("schemas")
    schema = json.loads(folder.joinpath("verdict.schema.json").read_text("utf-8"))
    assert set(verdict) == set(schema["properties"]) - Verdict.rare
    chosen = [{"level": "class", "group": "bag", "why": "critical", "value": None, "n": 0}]
    quick = judge(*tables, policy, setting_of(samples, draws, answers, representatives=chosen))[
        0
    ].to_json()
    for content in (verdict, quick):
        found = jsonschema.Draft202012Validator(schema).iter_errors(json.loads(json.dumps(content)))
        assert [error.message for error in found] == []


def test_clusters_in_samples_block_pass(samples, tables):
    clustered = samples.assign(cluster=samples["sample_id"] // 2)
    verdict = judge(*tables, parameters(), setting_of(clustered))[0].to_json()
    assert any(reason["rule"] == "clustered_data" for reason in verdict["reasons"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"critical": [{"level": "class", "group": "hat"}]}, "critical: there is no class 'hat'"),
        (
            {"critical": [{"level": "class", "group": "bag", "shifts": {"fog": 1.0}}]},
            "unknown shift 'fog'",
        ),
        (
            {"obligations": [{"to": "ACME", "level": "class", "group": "hat", **NOTICE}]},
            "obligations .to 'ACME'.: there is no class 'hat'",
        ),
        (
            {"obligations": [{"to": "ACME", **BAG, **NOTICE, "shifts": ["fog"]}]},
            "unknown shift 'fog'",
        ),
    ],
)
def test_names_that_do_not_exist_are_refused_before_any_score(samples, changes, message):
    with pytest.raises(InputError, match=message):
        check(samples, parameters(**changes))
    nodes = {node.name: node for node in create_pipeline().nodes}
    assert not {"scores", "predictions", "trials"} & set(nodes["check_policy"].inputs)


def test_a_float_model_at_chance_is_refused_before_any_score(samples):
    right = samples[["sample_id"]].assign(predicted=samples["label"])
    check(samples, parameters(), profiles=right)
    coin = right.assign(predicted=samples["sample_id"] // 2 % 2)
    with pytest.raises(InputError, match="right on 50.0 % of the 1,000 audit images"):
        check(samples, parameters(), profiles=coin)
    (node,) = [node for node in create_pipeline().nodes if node.name == "check_policy"]
    assert "profiles" in node.inputs


def test_a_class_without_images_and_a_repeated_image_are_in_the_verdict(samples, tables):
    more = DEFINITIONS.model_copy(update={"classes": ("boot", "bag", "hat")})
    hashes = samples["sample_id"].astype(str).where(samples["sample_id"] != 1999, "1997")
    hashed = samples.assign(content_hash=hashes)
    verdict = judge(*tables, parameters(), setting_of(hashed, definitions=more))[0].to_json()
    assert verdict["repeated_images"] == 1
    (hat,) = [each for each in verdict["groups_not_judged"] if each["group"] == "hat"]
    assert (hat["n"], hat["blocks"]) == (0, True)
    assert "class hat (0 images, needs" in verdict["not_judged"]


def test_an_edited_ledger_is_refused_before_any_score(samples, tmp_path):
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.enter(AuditImages.of(["a" * 64]), Asking("recipe", {"method": "minmax"}))
    check(samples, parameters(), ledger=ledger)
    text = ledger.path.read_text()
    ledger.path.write_text(text.replace("minmax", "mse"))
    with pytest.raises(InputError, match="line 1: the audit ledger was edited"):
        check(samples, parameters(), ledger=Ledger(ledger.path))
    (node,) = [node for node in create_pipeline().nodes if node.name == "check_policy"]
    assert "audit_ledger" in node.inputs


def test_shipped_limits_can_be_shown_with_zero_losses():
    policy = Policy.model_validate(read_group("worst_case_check"))
    shifts = list(read_group("stress"))
    alpha = split_budget(policy.draws, policy.p0, policy.alpha).alpha_image
    for level, smallest in (("average", 8000), ("class", 800), ("segment", 2000)):
        assert needed_samples(policy.strictest_limit(level, "", shifts), alpha) <= smallest
    assert set(policy.limits.class_.shifts) == set(shifts) - {"clean"}


def test_policy_survives_its_own_json(samples, tables):
    policy = parameters(critical=[{"level": "class", "group": "bag", "points": 4.0}])
    verdict = judge(*tables, policy, setting_of(samples))[0].to_json()
    assert Policy.model_validate(verdict["policy"]) == policy
    assert verdict["policy_hash"] == policy.hash


def test_the_candidate_is_compared_with_what_serves(samples):
    samples = samples.assign(content_hash=[f"{i:04x}" for i in samples["sample_id"]])
    evaluated = samples[samples["split"] != "pool"]
    answers = evaluated[["sample_id"]].assign(shift="clean", predicted=evaluated["label"])
    worse = answers["predicted"].where(evaluated["sample_id"] % 10 != 1, 0)
    predictions = answers.assign(trial_id="t0", predicted=worse)
    cell = make_cell("bag", n=500, drop=0.2, quantized_accuracy=0.8)
    verdict = make_verdict(trial_id="t0", cells=(cell,))

    def against(champion, predictions):
        setting = setting_of(samples, predictions, answers)
        return compare(verdict, samples, setting, champion, parameters(), STRESS)

    first, baseline = against(Baseline(), predictions)
    assert first.to_json() == {
        "schema_version": 1,
        "result": "NONE",
        "champion": None,
        "reasons": [],
        "not_compared": [],
        "cells": [],
        "candidate_baseline": baseline.hash,
    }
    assert baseline.groups[0].accuracy == 0.8
    champion = baseline.served_as("v0001", "ab")
    same, _ = against(champion, predictions)
    assert (same.result, same.champion.version) == ("PASS", "v0001")
    perfect = answers.assign(trial_id="t0")
    _, right = against(champion, perfect)
    champion = right.served_as("v0002", "cd")
    lost, _ = against(champion, predictions)
    assert lost.result == "FAIL"
    assert {reason.group for reason in lost.reasons} > {"bag"}
    assert lost.reasons[0].text.startswith("Against version v0002, ")


def test_plots_show_the_worst_cells_draw_by_draw(samples, tables):
    _, table = judge(*tables, parameters(), setting_of(samples))
    worst, drops = tabulate_plots(table, tables[0])
    assert worst["drop_mean"].tolist() == pytest.approx(
        100 * table.loc[table["judged"], "drop_mean"].head(len(worst)), abs=1e-4
    )
    assert worst["name"].iloc[0].startswith("bag")
    assert set(drops["name"]) == set(worst["name"])
    assert (drops.groupby("name")["drop"].count() == 3).all()
    means = drops.groupby("name")["drop"].mean()
    assert worst["drop_mean"].tolist() == pytest.approx(means[worst["name"]].tolist(), abs=1e-3)
    formulas = (part.assign(group="=" + part["group"]) for part in (table, tables[0]))
    assert tabulate_plots(*formulas)[0]["name"].iloc[0].startswith("'=bag")
    empty_worst, empty_drops = tabulate_plots(table.iloc[:0], tables[0])
    assert empty_worst.empty and empty_drops.empty


def test_metrics_are_ten_numbers_in_points(samples, tables):
    verdict = judge(*tables, parameters(), setting_of(samples))[0].to_json()
    metrics = sum_up(Verdict.read(verdict))
    assert len(metrics) == 10
    worst, cells = verdict["worst"], verdict["candidate"]["cells"]
    assert metrics["worst_drop"] == pytest.approx(100 * worst["candidate_drop"], abs=1e-4)
    assert metrics["worst_limit"] == pytest.approx(100 * worst["limit"])
    counts = Counter(cell["status"] for cell in cells)
    assert metrics["cells_shown_over"] == counts["shown_bad"]
    assert metrics["cells_open"] == counts["open"]
    assert metrics["draws"] == verdict["recipe"]["distinct_draws"]
