import json
from contextlib import nullcontext

import pandas as pd
from click.testing import CliRunner

from ptq_pipeline.commands import plan as module
from ptq_pipeline.commands import project_command as command
from ptq_pipeline.commands.plan import Outlook, plan
from ptq_pipeline.judgement.planning import plan_budget
from ptq_pipeline.judgement.policy import Policy

WORK = {
    **{"draws": 3, "comparison_sets": 0, "set_size": 64, "shifts": 1, "parity_draws": 0},
    **{"images_per_draw": 840, "images_per_comparison": 0, "selection_images": 0},
    **{"evaluated": 2520, "forward_passes": 3360, "calibration_passes": 192},
}


def prepared(monkeypatch):
    limits = {name: {"points": 5.0} for name in ("average", "class", "segment", "intersection")}
    rows = [("average", "all", 840), ("class", "boot", 800), ("class", "bag", 40)]
    counts = pd.DataFrame(rows, columns=["level", "group", "n"])
    budget = plan_budget(counts, Policy.model_validate({"limits": limits}), ["clean"], 3)

    monkeypatch.setattr(command, "opened", lambda env, mount: nullcontext())
    outlook = Outlook(question=1, alpha=0.05, pass_chance=None)
    monkeypatch.setattr(module, "planned", lambda project: (budget, WORK, outlook))
    seen = {"shift": "noise", "n": 400, "accuracy": 0.126, "floor": 0.19, "destroyed": True}
    monkeypatch.setattr(module, "_measured", lambda project, work: (12.0, [seen]))


def test_plan_says_what_three_draws_can_show(monkeypatch):
    prepared(monkeypatch)
    result = CliRunner().invoke(plan, [])
    assert result.exit_code == 0
    assert "3 good of 3 draws show, at 95 % confidence, that at least 32 %" in result.output
    assert "Cheapest budget that could PASS: 30 draws" in result.output
    assert "Groups: 2 of 3 judged" in result.output
    assert ": 12 s." in result.output
    assert "No PASS: the float model is right on 12.6 % of 400 audit images under noise" in (
        result.output
    )
    assert "No PASS: class bag has 40 images and needs " in result.output


def test_plan_as_json(monkeypatch):
    prepared(monkeypatch)
    content = json.loads(CliRunner().invoke(plan, ["--json", "--no-measurement"]).output)
    assert content["seconds"] is None and not content["budget"]["can_pass"]
    bag = next(g for g in content["budget"]["groups"] if g["group"] == "bag")
    assert not bag["judged"] and bag["provable"] > 0.05
