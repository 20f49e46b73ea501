"""`kedro ptq evidence`: one archive for a reviewer outside."""

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import resources
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import click

from ptq_pipeline.commands.command import Answer
from ptq_pipeline.commands.lineage import loaded
from ptq_pipeline.commands.project_command import project_command
from ptq_pipeline.commands.registry import current_decision
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.files import write_file
from ptq_pipeline.core.group_ids import GroupDefinitions
from ptq_pipeline.judgement.decision import Decision
from ptq_pipeline.project import Project
from ptq_pipeline.registry.evidence import Evidence

MANIFEST = "MANIFEST.sha256"
# What is not part of the decision and goes along where it is there, by names in the catalog.
BESIDE = ("report", "pull_request_summary", "junit", "worst_case_table", "provenance")
# Settings that say how the model is watched once it serves.
PLAN = ("monitoring", "reaudit", "release", "ladder")
# Every member has this time, so that the same audit gives the same bytes.
EPOCH = (1980, 1, 1, 0, 0, 0)


@project_command(epilog="Example: kedro ptq evidence -o evidence.zip")
@click.option(
    "--output",
    "-o",
    default=Path("evidence.zip"),
    show_default=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write to this file.",
)
def evidence(project: Project, output: Path) -> Answer:
    """Write decision, evidence, policy, data sheet and registry into one archive with hashes.

    Everything is held against the decision first, as before a release.
    """
    decision, rests_on = current_decision(project)
    files = _files(project, decision, rests_on)
    lines = [f"{hashlib.sha256(files[name]).hexdigest()}  {name}" for name in sorted(files)]
    files[MANIFEST] = ("\n".join(lines) + "\n").encode()
    write_file(output, _packed(files))
    return Answer(
        {"path": str(output), "files": sorted(files), "decision_hash": decision.hash},
        [f"{output}: {len(files)} files, decision {decision.hash[:12]}"],
    )


def _files(project: Project, decision: Decision, rests_on: Evidence) -> dict[str, bytes]:
    verdict = rests_on.verdict.to_json()
    registry = project.load("registry")
    records = registry.records(needed=False)
    waivers = records.waivers_by_record(datetime.now(UTC))
    contents: dict[str, Any] = {
        "decision.json": decision.to_json(),
        "verdict.json": verdict,
        "champion_comparison.json": rests_on.comparison.to_json(),
        "candidate_execution.json": rests_on.execution.to_json(),
        "policy.json": verdict["policy"],
        "data_sheet.json": _data_sheet(project),
        "candidate.json": decision.candidate.files,
        "waivers.json": [{"record": n, **each.to_json()} for n, each in waivers.items()],
        "history.json": [record.to_json() for record in records],
        "monitoring_plan.json": {name: project.group(name) for name in PLAN},
        "packages.json": {each.name: each.version for each in distributions()},
    }
    files = {name: _json(content) for name, content in contents.items()}
    folder = resources.files("ptq_pipeline.reporting").joinpath("templates")
    files["README.md"] = (
        folder.joinpath("evidence.md")
        .read_text("utf-8")
        .format(
            outcome=decision.outcome,
            verdict=verdict["result"],
            headline=verdict["headline"],
            policy=decision.policy_hash,
            manifest=MANIFEST,
        )
        .encode()
    )
    for name in BESIDE:
        path = _file_of(project, name)
        if path is not None:
            files[path.name] = path.read_bytes()
    return files


def _file_of(project: Project, name: str) -> Path | None:
    try:
        path = project.root / project.path(name)
    except InputError:
        return None
    return path if path.is_file() else None


def _data_sheet(project: Project) -> dict[str, Any]:
    """What the audit's data are; empty where its tables are not here (`dvc pull`)."""
    samples, known = loaded(project, "samples"), loaded(project, "group_definitions")
    if samples is None or known is None:
        return {}
    definitions = GroupDefinitions.read(known)
    classes = definitions.classes
    by_class = samples.groupby(["split", "label"]).size()
    return {
        "splits": samples["split"].value_counts().sort_index().to_dict(),
        "classes": list(classes),
        "by_class": {
            str(split): {classes[label]: int(n) for (_, label), n in part.items()}
            for split, part in by_class.groupby(level=0)
        },
        "segments": {name: each.to_json() for name, each in definitions.segments.items()},
        "left_out": definitions.left_out,
        "same_pixels_in_two_splits": int(
            (samples.groupby("content_hash")["split"].nunique() > 1).sum()
        ),
    }


def _json(content: Any) -> bytes:
    text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False)
    return (text + "\n").encode()


def _packed(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            archive.writestr(zipfile.ZipInfo(name, EPOCH), files[name], zipfile.ZIP_DEFLATED)
    return buffer.getvalue()
