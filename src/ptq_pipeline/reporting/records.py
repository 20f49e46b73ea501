"""What the reviewer asks of an audit's history and of the machine that wrote the page."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from ptq_pipeline.judgement.candidate import CandidateVerdict
from ptq_pipeline.reporting.formatting import MISSING, moment
from ptq_pipeline.reporting.tables import Row, Table, make_table
from ptq_pipeline.reporting.texts import Texts

Mapped = Mapping[str, Any]
Facts = list[tuple[str, str]]


def log_table(texts: Texts, log: Sequence[Mapped], max_rows: int) -> Table:
    """List the registry's records, the newest first: what happened, when, by whom."""
    rows = []
    for record in reversed(log):
        content = record["content"]
        what = content.get("version") or content.get("rule") or content.get("outcome")
        why = content.get("reason") or content.get("trigger")
        rows.append(
            Row(
                {
                    "sequence": record["sequence"],
                    "time": moment(record["time"], texts.template("format.moment")),
                    "kind": texts(f"log.{record['kind']}"),
                    "what": what,
                    "replaces": content.get("replaces"),
                    "by": content.get("by") or None,
                    "why": why,
                    "record": str(record["record_hash"])[:12],
                }
            )
        )
    columns = (
        ("sequence", "count"),
        ("time", "text"),
        ("kind", "text"),
        ("what", "name"),
        ("replaces", "name"),
        ("by", "name"),
        ("why", "name"),
        ("record", "name"),
    )
    return make_table(texts, texts("log.caption"), columns, rows, max_rows)


def origin_facts(texts: Texts, machine: Mapped) -> Facts:
    """Say what wrote the page: revision, versions and processor."""
    if not machine:
        return []
    git = machine.get("git") or {}
    revision = git.get("revision") or MISSING
    if git.get("dirty"):
        revision = texts("origin.dirty", revision=revision)
    versions = ", ".join(
        f"{name} {version}" for name, version in (machine.get("versions") or {}).items() if version
    )
    processor = " ".join([str(machine.get("machine") or ""), *(machine.get("cpu_flags") or ())])
    return [
        (texts("origin.revision"), revision),
        (texts("origin.python"), str(machine.get("python") or MISSING)),
        (texts("origin.versions"), versions),
        (texts("origin.processor"), processor),
    ]


def trial_facts(
    texts: Texts, trials: pd.DataFrame, index: pd.DataFrame, candidate: CandidateVerdict
) -> Facts:
    """Say how the candidate's trial ran, and which seed drew its calibration set."""
    facts = []
    own = index[index["set_id"] == candidate.set_id]
    if len(own):
        for key in ("draw", "seed"):
            if key in own:
                facts.append((texts(f"origin.{key}"), str(own[key].iloc[0])))
    rows = trials[trials["trial_id"] == candidate.trial_id]
    if len(rows) and "spec" in rows:
        spec = json.loads(str(rows["spec"].iloc[0]))
        for key in ("engine", "model", "method", "runtime", "evaluation"):
            if spec.get(key) is not None:
                value = spec[key]
                text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
                facts.append((texts(f"origin.{key}"), str(text)))
    return facts
