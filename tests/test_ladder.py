"""The ladder of docs/watch.md, climbed with the commands that anyone would use, on real audits."""

import json

import pytest
from tests.project import drift_story

pytestmark = pytest.mark.slow

LOOSE = {
    "average": {"points": 40.0},
    "class": {"points": 95.0},
    "segment": {"points": 60.0},
    "intersection": {"points": 99.0, "min_size": 100_000},
}
THREE_BITS = {"name": "three bits"}
TWO_BITS = {"name": "two bits", "quantization": {"method": {"weight_bits": 2}}}
EIGHT_BITS = {"name": "eight bits", "quantization": {"method": {"weight_bits": 8}}}


def built(project, folder):
    """Build the shop of the story with a recipe of three bits."""
    module = drift_story(project)
    sizes = module.Sizes(pool=900, reference=600, selection=300, audit=1_800, calm=500)
    story = module.Story(folder / "shop", sizes)
    story.build()
    bits = {"weight_bits": 3, "activation_bits": 8}
    story.change("parameters_quantization", quantization={"method": bits})
    # Two recipes share alpha, and with half of it 36 draws are the least that can pass.
    story.change("parameters_calibration", calibration={"draws": 40})
    story.change("parameters_worst_case_check", worst_case_check={"draws": 40})
    return story, module


def ledger(story):
    """Return the recipes that were asked of audit images, in their order."""
    lines = (story.root / "data/06_models/audit_ledger.jsonl").read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    assert len({entry["audit"] for entry in entries}) == 1
    return entries, [e for e in entries if e["kind"] == "recipe" and e["look"] is None]


@pytest.fixture(scope="module")
def climbed(project, tmp_path_factory):
    """Climb ladders under a policy that got stricter; return the story and what was said."""
    story, module = built(project, tmp_path_factory.mktemp("ladder"))

    def climb(limits, *recipes):
        ladder = {"recipes": list(recipes), "fallback": "float"}
        story.change("parameters_ladder", ladder=ladder)
        story.change("parameters_worst_case_check", worst_case_check={"limits": limits})
        return story.report("ladder")

    said = {"loose": climb(LOOSE, THREE_BITS), "first": story.report("promote", "--by", "Jo")}
    said["nothing passes"] = climb(module.CLEAN_ONLY, THREE_BITS, TWO_BITS)
    said["status"] = story.report("status")
    said["second passes"] = climb(module.CLEAN_ONLY, THREE_BITS, EIGHT_BITS)
    said["second"] = story.report("promote", "--by", "Jo")
    said["solved"] = story.report("status")
    said["champion holds"] = climb(module.CLEAN_ONLY, TWO_BITS)
    said["again"] = climb(module.CLEAN_ONLY, TWO_BITS)
    said["history"] = story.report("history")
    said["verify"] = story.report("verify")
    return story, said


def decisions(report):
    return {rung["name"]: rung["decision"] for rung in report["ladder"]}


def test_the_first_recipe_that_passes_ends_the_ladder(climbed):
    code, report = climbed[1]["loose"]
    assert (code, report["action"], decisions(report)) == (0, "passed", {"three bits": "promote"})
    assert climbed[1]["first"][1]["content"]["version"] == "v0001"


def test_when_nothing_passes_retraining_is_recorded_with_evidence_and_the_champion_kept(climbed):
    """The champion itself fails under the stricter policy, so the float model should serve."""
    code, report = climbed[1]["nothing passes"]
    assert (code, report["action"]) == (11, "retraining needed")
    assert decisions(report) == {"three bits": "refuse", "two bits": "refuse"}
    assert (report["champion"], report["serve"]) == ("v0001", "float")
    record = climbed[1]["history"][1][1]["content"]
    assert (record["outcome"], record["trigger"]) == ("retraining needed", "ladder")
    assert record["evidence"] == report["evidence"]
    assert record["evidence"]["champion"]["result"] == "FAILS"
    unsolved = climbed[1]["status"][1]["unsolved"]
    assert (unsolved["outcome"], unsolved["serve"]) == ("retraining needed", "float")


def test_the_second_passes_where_the_first_fails_and_can_be_promoted(climbed):
    code, report = climbed[1]["second passes"]
    assert (code, report["action"]) == (0, "passed")
    assert decisions(report) == {"three bits": "refuse", "eight bits": "promote"}
    assert report["changes"] == {"quantization": {"method": {"weight_bits": 8}}}
    record = climbed[1]["second"][1]
    assert record["content"]["version"] == "v0002"
    assert record["content"]["decision_hash"] == report["ladder"][-1]["decision_hash"]
    assert climbed[1]["solved"][1]["unsolved"] is None


def test_a_champion_that_holds_keeps_serving(climbed):
    code, report = climbed[1]["champion holds"]
    assert (code, report["serve"], report["champion"]) == (11, "champion", "v0002")
    assert report["evidence"]["champion"]["result"] == "HOLDS"


def test_the_log_holds_each_outcome_once_and_every_hash(climbed):
    assert [record["kind"] for record in climbed[1]["history"][1]] == [
        *("promotion", "outcome", "promotion", "outcome")
    ]
    assert climbed[1]["again"] == climbed[1]["champion holds"]
    assert climbed[1]["verify"] == (0, {"notes": [], "ok": True, "versions": ["v0001", "v0002"]})


def test_every_opening_of_the_audit_images_is_in_the_ledger(climbed):
    entries, opened = ledger(climbed[0])
    bits = [each["question"]["method"]["weight_bits"] for each in opened]
    assert bits == [3, 2, 8], "each recipe once, however often it was asked"
    asked = [entry["question"]["champion"] for entry in entries if entry["kind"] == "reaudit"]
    assert len(set(asked)) == 2, "either champion was asked as well"


def test_a_step_that_is_searched_passes_where_the_configured_recipe_fails(
    project, tmp_path_factory
):
    story, _ = built(project, tmp_path_factory.mktemp("repair"))
    story.change("parameters_repair", repair={"draws": 2, "finalists": 1})
    searched = {"name": "repair", "repair": True}
    story.change("parameters_ladder", ladder={"recipes": [THREE_BITS, searched]})
    code, report = story.report("ladder")
    assert code == 0, (report, (story.root / "last_errors.log").read_text())
    assert report["action"] == "passed"
    assert decisions(report) == {"three bits": "refuse", "repair": "promote"}
    method = report["changes"]["quantization"]["method"]
    assert method["weight_bits"] == 3
    assert report["ladder"][-1]["changes"] == report["changes"]
    # The search itself asked the audit images nothing.
    first, winner = (each["question"]["method"] for each in ledger(story)[1])
    assert first["name"] == "nearest" and not first.get("corrections")
    assert winner["name"] == method["name"]
    assert winner.get("corrections", []) == method.get("corrections", [])
    code, record = story.report("promote", "--by", "Jo")
    assert (code, record["content"]["version"]) == (0, "v0001")
