"""Candidates as the promotion pipeline hands them over, with small made-up files."""

import json
from datetime import UTC, datetime

import numpy as np
import pytest
from tests.verdicts import POLICY, make_cell, make_reason, make_verdict

from ptq_pipeline.core.names import VERDICT_FILE
from ptq_pipeline.judgement.baseline import Baseline
from ptq_pipeline.judgement.champion import Comparison
from ptq_pipeline.judgement.decision import Execution
from ptq_pipeline.judgement.policy import Obligation
from ptq_pipeline.registry.agreement import Registry
from ptq_pipeline.registry.evidence import COMPARISON_FILE, EXECUTION_FILE, Evidence
from ptq_pipeline.registry.release import Circumstances, ReleaseParameters, note, waive
from ptq_pipeline.registry.release import release as release_evidence
from ptq_pipeline.registry.store import ANSWERS_FILE, baseline_bytes
from ptq_pipeline.registry.waivers import Waiver

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
REASON = make_reason("candidate.limit", "Sandal", shift="clean")


def candidate(
    name,
    result="PASS",
    champion=None,
    reasons=(),
    obligations=(),
    accuracy=0.9,
    environment="base",
    not_judged=None,
    worst_groups=(),
):
    """Return a decision and its files; `obligations` are owed to Sandal, which has `accuracy`."""
    owed = tuple(Obligation(**each) for each in obligations)
    policy = POLICY.model_copy(update={"obligations": owed})
    sandal = make_cell(
        "Sandal",
        n=100,
        judged=False,
        status="not_judged",
        float_accuracy=0.95,
        drop=0.95 - accuracy,
        quantized_accuracy=accuracy,
        accuracy_lower=accuracy - 0.02,
    )
    verdict = make_verdict(
        *(result, name, f"set-{name}", tuple(reasons), (sandal,)),
        not_judged=not_judged,
        policy=policy,
        policy_hash=policy.hash,
    )
    bounded = verdict.candidate.model_copy(update={"worst_groups": tuple(worst_groups)})
    verdict = verdict.model_copy(update={"candidate": bounded})
    spec = {"model": "m", "method": {"weight_bits": 8}, "evaluation": "e", "runtime": {"name": "x"}}
    answers = Baseline(trial_id=name, audit_hash="e", answers={"clean": np.array([0, 1, 2, 2])})
    compared = Comparison(
        result="NONE" if champion is None else "PASS",
        champion=champion,
        candidate_baseline=answers.hash,
    )
    execution = Execution(result="PASS")
    files = {
        VERDICT_FILE: json.dumps(verdict.to_json()).encode(),
        COMPARISON_FILE: json.dumps(compared.to_json()).encode(),
        EXECUTION_FILE: json.dumps(execution.to_json()).encode(),
        "trial.json": json.dumps({"trial_id": name, "spec": spec}).encode(),
        "calibration.json": json.dumps({"set_id": f"set-{name}"}).encode(),
        "model.bin": name.encode() * 100,
        ANSWERS_FILE: baseline_bytes(answers),
    }
    return Evidence(verdict, compared, execution, files).decide(environment), files


def terms(now=NOW, **changes):
    there = Circumstances(machine={"python": "3.11"}, now=now)
    return ReleaseParameters(**{"by": "Kim", **changes}), there


def release(registry, decision, files, given=None):
    """Release a candidate by its own copies of what its decision rests on."""
    evidence = Evidence.of_files(files)
    return release_evidence(registry, evidence, decision, *(given or terms()))


def against(decision):
    """Return what a decision says of the champion that `decision` made."""
    return {"version": "?", "decision_hash": decision.hash}


@pytest.fixture
def registry(tmp_path):
    baseline = tmp_path / "champion_baseline.json"
    baseline.write_bytes(baseline_bytes())
    return Registry(tmp_path / "registry", baseline)


@pytest.fixture
def two(registry):
    """A registry of two versions."""
    first = candidate("a")
    release(registry, *first, terms())
    release(registry, *candidate("b", champion=against(first[0])), terms())
    return registry


def third():
    """Return a candidate that was compared with the champion of `two`."""
    first = candidate("a")[0]
    return candidate("c", champion=against(candidate("b", champion=against(first))[0]))


GRANTED = Waiver.granted("candidate.limit", "agreed", "2026-12-31", "Kim")
# Everything that moves or records something, and what only looks.
CHANGES = (
    lambda registry: release(registry, *third(), terms()),
    lambda registry: waive(registry, GRANTED, NOW),
    lambda registry: note(registry, {"outcome": "retraining needed"}, NOW),
    Registry.verify,
)
