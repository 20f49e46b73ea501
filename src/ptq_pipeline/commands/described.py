"""A candidate or a version in one line: bits, method, and its worst group, instead of hashes."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ptq_pipeline.core.names import TRIAL_FILE, VERDICT_FILE
from ptq_pipeline.judgement.sentences import cell_name


def described(trial: Mapping[str, Any], verdict: Mapping[str, Any]) -> str:
    """Say what a model is and whom it hurts most; what is not known is left out.

    Args:
        trial: Content of ``trial.json``.
        verdict: Content of ``verdict.json``.

    Example:
        >>> method = {"weight_bits": 4, "activation_bits": 8, "rounding": "nearest"}
        >>> worst = {"level": "class", "group": "Shirt", "shift": "clean", "limit": 0.04}
        >>> verdict = {"worst": {**worst, "candidate_drop": 0.069}}
        >>> described({"spec": {"method": method}}, verdict)
        'W4A8 nearest; worst is class Shirt under clean: 6.9 of 4.0 points'
    """
    method = trial.get("spec", {}).get("method", {})
    parts = []
    if {"weight_bits", "activation_bits"} <= set(method):
        name = method.get("rounding") or method.get("name") or ""
        parts.append(f"W{method['weight_bits']}A{method['activation_bits']} {name}".strip())
    worst = verdict.get("worst") or {}
    if worst.get("candidate_drop") is not None:
        place = cell_name(*(str(worst[key]) for key in ("level", "group", "shift")))
        used = f"{100 * worst['candidate_drop']:z.1f} of {100 * worst['limit']:.1f} points"
        parts.append(f"worst is {place}: {used}")
    return "; ".join(parts)


def described_version(folder: Path) -> str:
    """Say it of a version of the registry, as far as its files are there and can be read."""
    found = []
    for name in (TRIAL_FILE, VERDICT_FILE):
        try:
            content = json.loads((folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            content = {}
        found.append(content if isinstance(content, dict) else {})
    return described(*found)
