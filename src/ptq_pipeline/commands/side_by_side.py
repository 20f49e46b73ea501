"""`kedro ptq compare-audits`: two audits side by side, as a page."""

from dataclasses import asdict
from pathlib import Path

import click

from ptq_pipeline.commands.command import Answer
from ptq_pipeline.commands.options import language_option, output_option
from ptq_pipeline.commands.project_command import project_command
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.files import write_file
from ptq_pipeline.core.names import VERDICT_FILE
from ptq_pipeline.judgement.verdict import Verdict
from ptq_pipeline.project import Project
from ptq_pipeline.registry.audits import (
    CELL_LISTS,
    Difference,
    StoredAudit,
    audit_of_revision,
    audit_of_tree,
    audit_of_version,
)
from ptq_pipeline.registry.audits import (
    compare_audits as compared,
)
from ptq_pipeline.registry.store import VERSION
from ptq_pipeline.reporting.pages import NamedAudit, side_by_side

HERE = "."
# Places that the page shows elsewhere, or that are hashes of everything else.
_SHOWN_ELSEWHERE = ("verdict", "decision", *(part.replace("_", " ") for part in CELL_LISTS))


@project_command(
    epilog=f"An audit is '{HERE}' (the one on disk), a version, a git revision, or a folder with "
    "verdict.json and decision.json. Example: kedro ptq compare-audits HEAD~1 . -o audits.html",
)
@click.argument("before")
@click.argument("now", default=HERE)
@language_option
@output_option("audits.html")
def compare_audits(
    project: Project, before: str, now: str, *, language: str | None, output: Path
) -> Answer:
    """Write two audits side by side: verdicts, every group, and what was set otherwise."""
    first, second = _stored(project, before), _stored(project, now)
    found = compared(first, second)
    spoken = language or project.group("reporting").get("language", "en")
    settings = [
        (each.where, each.before, each.now) for each in found.differences if _is_setting(each)
    ]
    html = side_by_side(_named(before, first), _named(now, second), settings, spoken)
    write_file(output, html.encode())
    return Answer(
        {"path": str(output), **asdict(found)},
        [f"{output}: {found.agreement}"],
        [f"note: {note}" for note in (*first.notes, *second.notes)],
    )


def _stored(project: Project, name: str) -> StoredAudit:
    paths = project.path("verdict"), project.path("decision")
    if name == HERE:
        return audit_of_tree(project.root, *paths)
    if VERSION.fullmatch(name):
        return audit_of_version(project.load("registry").folder(name), name)
    if (folder := Path(name)).is_dir():
        if not (folder / VERDICT_FILE).is_file():
            raise InputError(f"'{folder}' holds no {VERDICT_FILE}; name the folder of an audit")
        return audit_of_version(folder, str(folder))
    return audit_of_revision(project.root, name, *paths)


def _named(name: str, audit: StoredAudit) -> NamedAudit:
    called = audit.where if name == HERE else name
    return NamedAudit(called, Verdict.read(audit.verdict), str(audit.decision["decision"]))


def _is_setting(difference: Difference) -> bool:
    where = difference.where
    is_hash = "/" in where and not where.startswith("parameter ")
    return not is_hash and where.partition(":")[0] not in _SHOWN_ELSEWHERE
