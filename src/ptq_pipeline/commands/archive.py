"""`kedro ptq evidence`: one archive for a reviewer outside."""

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import resources
from importlib.metadata import distributions, version
from pathlib import Path
from typing import Any

import click

from ptq_pipeline.commands.attachments import bill_of_materials, printed, signature
from ptq_pipeline.commands.command import Answer
from ptq_pipeline.commands.lineage import loaded
from ptq_pipeline.commands.options import output_option
from ptq_pipeline.commands.project_command import project_command
from ptq_pipeline.commands.registry import current_decision
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.files import write_file
from ptq_pipeline.core.group_ids import GroupDefinitions
from ptq_pipeline.core.plain_text import visible
from ptq_pipeline.judgement.decision import Decision
from ptq_pipeline.judgement.verdict import Verdict
from ptq_pipeline.project import Project
from ptq_pipeline.registry.evidence import Evidence
from ptq_pipeline.registry.freezing import freezing
from ptq_pipeline.registry.records import Records
from ptq_pipeline.reporting.results import worst_first

MANIFEST = "MANIFEST.sha256"
# Of every shift, in robustness.json.
MOST_GROUPS = 10
# What is not part of the decision and goes along where it is there, by names in the catalog.
BESIDE = ("report", "pull_request_summary", "junit", "worst_case_table", "provenance")
# Settings that say how the model is watched once it serves.
PLAN = ("monitoring", "reaudit", "release", "ladder")
# Every member has this time, so that the same audit gives the same bytes.
EPOCH = (1980, 1, 1, 0, 0, 0)


@project_command(epilog="Example: kedro ptq evidence -o evidence.zip --approver 'Jo Doe'")
@output_option("evidence.zip")
@click.option("--approver", default="", help="Who is asked to approve, for approval.json.")
@click.option("--role", default="", help="What that person is.")
@click.option(
    "--pdf/--no-pdf", default=True, help="Print the report too, where Chromium is installed."
)
@click.option("--sign", metavar="KEY", default=None, help="Sign the manifest with this key of gpg.")
def evidence(
    project: Project, *, output: Path, approver: str, role: str, pdf: bool, sign: str | None
) -> Answer:
    """Write decision, evidence, policy, data sheet and registry into one archive with hashes.

    Everything is held against the decision first, as before a release. The same audit, registry and
    packages give the same bytes, but for a signature.
    """
    decision, rests_on = current_decision(project)
    files = _files(project, decision, rests_on)
    files["approval.json"] = _json(
        {"approver": approver, "role": role, "decision_hash": decision.hash, "date": None}
    )
    notes = _attach(project, files, pdf)
    files["README.md"] = _readme(decision, rests_on, files)
    lines = [f"{hashlib.sha256(files[name]).hexdigest()}  {name}" for name in sorted(files)]
    files[MANIFEST] = ("\n".join(lines) + "\n").encode()
    if sign is not None:
        files[f"{MANIFEST}.asc"] = signature(files[MANIFEST], sign)
    write_file(output, _packed(files))
    return Answer(
        {"path": str(output), "files": sorted(files), "decision_hash": decision.hash},
        [f"{output}: {len(files)} files, decision {decision.hash[:12]}"],
        [f"note: {note}" for note in notes],
    )


def _attach(project: Project, files: dict[str, bytes], pdf: bool) -> list[str]:
    """Add what other programs make; return what is missing, and why."""
    notes = []
    packages = bill_of_materials("ptq-pipeline", version("ptq-pipeline"))
    if packages is None:
        notes.append("no sbom.cdx.json: `pip install 'ptq-pipeline[sbom]'` brings its library")
    else:
        files["sbom.cdx.json"] = packages
    page = _file_of(project, "report")
    if page is None:
        notes.append("no report: the audit was made elsewhere, or `kedro ptq report` writes it")
    elif pdf:
        content = printed(page)
        if content is None:
            notes.append("no report.pdf: Chromium is not installed")
        else:
            files["report.pdf"] = content
    return notes


def _files(project: Project, decision: Decision, rests_on: Evidence) -> dict[str, bytes]:
    verdict = rests_on.verdict.to_json()
    registry = project.load("registry")
    records = registry.records(needed=False)
    waivers = records.waivers_by_record(datetime.now(UTC))
    frozen = _frozen(project, records, rests_on.verdict)
    contents: dict[str, Any] = {
        "decision.json": decision.to_json(),
        "verdict.json": verdict,
        "champion_comparison.json": rests_on.comparison.to_json(),
        "candidate_execution.json": rests_on.execution.to_json(),
        "policy.json": verdict["policy"],
        "policy_freeze.json": frozen,
        "data_sheet.json": _data_sheet(project),
        "statistics.json": _statistics(rests_on.verdict),
        "robustness.json": _robustness(rests_on.verdict),
        "environment.json": _environment(decision, rests_on),
        "candidate.json": decision.candidate.files,
        "waivers.json": [{"record": n, **each.to_json()} for n, each in waivers.items()],
        "history.json": [record.to_json() for record in records],
        "monitoring_plan.json": {name: project.group(name) for name in PLAN},
        "packages.json": {each.name: each.version for each in distributions()},
    }
    files = {name: _json(content) for name, content in contents.items()}
    files["CROSSWALK.md"] = _template("crosswalk.md").encode()
    for name in BESIDE:
        path = _file_of(project, name)
        if path is not None:
            files[path.name] = path.read_bytes()
    return files


def _frozen(project: Project, records: Records, verdict: Verdict) -> Mapping[str, Any] | None:
    entries = [each.hash for each in project.load("audit_ledger").entries()]
    asked = [each.entry for each in verdict.ledger.openings] if verdict.ledger else []
    return freezing(records, verdict.policy_hash, asked, entries)


def _statistics(verdict: Verdict) -> dict[str, Any]:
    """What was tested, at which error, and what follows: the numbers behind the verdict."""
    content = verdict.to_json()
    names = ("recipe", "tolerance", "ledger", "groups_not_judged", "headline")
    worst = [each.to_json() for each in verdict.candidate.worst_groups]
    return {
        "alpha": verdict.policy.alpha,
        "acceptable_share_of_bad_draws": verdict.policy.p0,
        **{name: content.get(name) for name in names},
        "worst_group_of_the_candidate": worst,
    }


def _robustness(verdict: Verdict) -> dict[str, Any]:
    """Of every shift its worst judged groups, by evidence."""
    found: dict[str, list[dict[str, Any]]] = {}
    for cell in worst_first(verdict.candidate.cells):
        here = found.setdefault(cell.shift, [])
        if cell.judged and len(here) < MOST_GROUPS:
            here.append(cell.to_json())
    return found


def _environment(decision: Decision, rests_on: Evidence) -> dict[str, Any]:
    """Where the candidate was executed, and for what else nothing was shown."""
    execution = rests_on.execution
    return {
        "environment": decision.environment,
        "runtime": execution.runtime,
        "files_that_were_judged": list(execution.files),
        "other_files": [each.to_json() for each in execution.others],
        "withheld": list(execution.withheld),
        "not_covered": "any other runtime, processor or version than those of the candidate's "
        f"trial ({decision.candidate.trial_id}); audit it there",
    }


def _readme(decision: Decision, rests_on: Evidence, files: Mapping[str, bytes]) -> bytes:
    verdict = rests_on.verdict
    frozen = json.loads(files["policy_freeze.json"])
    said = "was never frozen, so nothing here shows when it was fixed"
    if frozen is not None:
        when = {
            True: "before this audit asked its first question",
            False: "AFTER this audit had asked its questions",
            None: "and the audit kept no ledger, so nothing shows which came first",
        }[frozen["before_outcomes"]]
        said = f"was frozen on {frozen['time']} by {frozen['by']} (record {frozen['record']}), "
        said += when
    approval = json.loads(files["approval.json"])
    return (
        _template("evidence.md")
        .format(
            outcome=decision.outcome,
            verdict=verdict.result,
            headline=verdict.headline,
            policy=decision.policy_hash,
            frozen=said,
            approver=visible(approval["approver"]),
            role=visible(approval["role"]),
            manifest=MANIFEST,
        )
        .encode()
    )


def _template(name: str) -> str:
    folder = resources.files("ptq_pipeline.reporting").joinpath("templates")
    return folder.joinpath(name).read_text("utf-8")


def _file_of(project: Project, name: str) -> Path | None:
    try:
        path = project.root / project.path(name)
    except InputError:
        return None
    return path if path.is_file() else None


def _data_sheet(project: Project) -> dict[str, Any]:
    """What the audit's data are; empty where its tables are not here (`dvc pull`)."""
    samples = loaded(project, "samples")
    definitions: GroupDefinitions | None = loaded(project, "group_definitions")
    if samples is None or definitions is None:
        return {}
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
