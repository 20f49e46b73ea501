"""Candidates as the promotion pipeline hands them over, with small made-up files."""

import json
from datetime import UTC, datetime
from hashlib import sha256

import numpy as np
import pytest

from ptq_pipeline.registry import (
    BASELINE_FILE,
    Decision,
    Registry,
    ReleaseTerms,
    Waiver,
    baseline_bytes,
    no_champion,
    note,
    release,
    verify,
    waive,
)
from ptq_pipeline.reliability import Baseline

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
REASON = {"rule": "candidate.limit", "group": "Sandal", "shift": "clean", "text": "Sandal is open."}


def candidate(name, result="PASS", champion=None, reasons=(), obligations=(), environment="base"):
    """Return a decision and its files."""
    verdict = {
        "schema_version": 1,
        "result": result,
        "reasons": list(reasons),
        "candidate": {"trial_id": name, "set_id": f"set-{name}", "cells": []},
        "policy_hash": "ab" * 32,
    }
    spec = {"model": "m", "method": {"weight_bits": 8}, "evaluation": "e", "runtime": {"name": "x"}}
    answers = Baseline(trial_id=name, audit_hash="e", answers={"clean": np.array([0, 1, 2, 2])})
    files = {
        "verdict.json": json.dumps(verdict).encode(),
        "trial.json": json.dumps({"trial_id": name, "spec": spec}).encode(),
        "calibration.json": json.dumps({"set_id": f"set-{name}"}).encode(),
        "model.bin": name.encode() * 100,
        BASELINE_FILE: baseline_bytes(answers),
    }
    hashes = {key: sha256(content).hexdigest() for key, content in files.items()}
    compared = None if champion is None else {"result": "PASS", "champion": champion, "reasons": []}
    decision = Decision.from_verdict(
        verdict, hashes, environment, comparison=compared, obligations=obligations
    )
    return decision, files


def terms(**changes):
    return ReleaseTerms(**{"by": "Kim", "now": NOW, "machine": {"python": "3.11"}, **changes})


def against(decision):
    """Return what a decision says of the champion that `decision` made."""
    return {"version": "?", "decision_hash": decision.hash}


@pytest.fixture
def registry(tmp_path):
    baseline = tmp_path / "champion_baseline.json"
    baseline.write_bytes(no_champion())
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


GRANTED = Waiver("candidate.limit", "agreed", "2026-12-31", "Kim")
# Everything that moves or records something, and what only looks.
CHANGES = (
    lambda registry: release(registry, *third(), terms()),
    lambda registry: waive(registry, GRANTED, NOW),
    lambda registry: note(registry, {"outcome": "retraining needed"}, NOW),
    verify,
)
