"""`kedro ptq verify`: every hash of the registry, or this audit beside an earlier one."""

from dataclasses import asdict

import click

from ptq_pipeline.commands.command import Answer
from ptq_pipeline.commands.project_command import project_command
from ptq_pipeline.commands.registry import BESIDE, PARTS, current_decision, place
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.exits import ExitCode
from ptq_pipeline.core.provenance import git_state
from ptq_pipeline.judgement.decision import Decision
from ptq_pipeline.judgement.verdict import Verdict
from ptq_pipeline.project import Project
from ptq_pipeline.registry.audits import (
    Agreement,
    audit_of_revision,
    audit_of_tree,
    audit_of_version,
    compare_audits,
)
from ptq_pipeline.registry.evidence import check_part, rests_on
from ptq_pipeline.registry.records import VerificationError
from ptq_pipeline.registry.store import VERSION

SHOWN = 20


@project_command(
    epilog="Exits with 5 when a hash does not hold or the audits differ. "
    "Examples: kedro ptq verify v0002; kedro ptq verify --against HEAD~1",
)
@click.argument("version", required=False)
@click.option(
    "--against",
    default=None,
    help="Compare this audit with that of a git revision or of a version.",
)
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0),
    default=0.5,
    show_default=True,
    help="Points by which drops of equivalent audits may differ.",
)
def verify(project: Project, version: str | None, against: str | None, tolerance: float) -> Answer:
    """Recompute every hash of a VERSION, or of all, and name the first that does not hold.

    With --against, compare the audit on disk (of --env and --mount) with an earlier one instead:
    identical, equivalent or different, and where.
    """
    if against is not None:
        return _compare_audits(project, against, tolerance / 100)
    try:
        checked = project.load("registry").verify(version)
        notes = [] if version else _check_last_audit(project)
    except VerificationError as error:
        return Answer(
            {"ok": False, "error": str(error)},
            notes=[f"error: {error}"],
            code=ExitCode.VERIFICATION_FAILED,
        )
    return Answer(
        {"ok": True, "versions": checked, "notes": notes},
        [f"every hash holds: {', '.join(checked) or 'no versions yet'}"],
        [f"note: {note}" for note in notes],
    )


def _check_last_audit(project: Project) -> list[str]:
    """Check the decision of the last audit by what is here of the files that it rests on.

    Returns:
        What could not be checked: git keeps verdict and decision only.
    """
    paths = {name: project.root / place(project, name) for name in PARTS}
    missing = [name for name in PARTS if not paths[name].exists()]
    if "decision" in missing:
        return []
    try:
        _check_ledger(project)
        if not missing:
            current_decision(project)
            return []
        decision = project.document("decision", Decision)
        for (name, kind), expected in zip(BESIDE.items(), rests_on(decision).values(), strict=True):
            if name not in missing or name == "verdict":
                check_part(paths[name].name, project.document(name, kind), expected)
    except InputError as error:
        raise VerificationError(f"the last audit: {error}") from error
    where = ", ".join(f"'{place(project, name)}'" for name in missing)
    return [f"the decision of the last audit was not made once more: {where} is not here"]


def _check_ledger(project: Project) -> None:
    """Check that the audit ledger holds the questions that the verdict names."""
    ledger = project.document("verdict", Verdict).ledger
    known = {entry.hash for entry in project.load("audit_ledger").entries()}
    for opening in ledger.openings if ledger else ():
        if opening.entry not in known:
            raise InputError(
                f"the audit ledger '{project.path('audit_ledger')}' lacks entry "
                f"{opening.entry[:16]}, which the verdict names: it was shortened; restore it from "
                "version control"
            )


def _compare_audits(project: Project, earlier: str, tolerance: float) -> Answer:
    paths = project.path("verdict"), project.path("decision")
    now = audit_of_tree(project.root, *paths)
    if VERSION.fullmatch(earlier):
        before = audit_of_version(project.load("registry").folder(earlier), earlier)
    else:
        before = audit_of_revision(project.root, earlier, *paths)
    found = compare_audits(before, now, tolerance)
    git = git_state(project.root)
    notes = [*now.notes, *before.notes, *_dirt(git)]
    lines = [str(found.agreement)]
    for each in found.differences[:SHOWN]:
        mark = "! " if each.matters else ""
        lines.append(f"  {mark}{each.where}: {each.before} -> {each.now}")
    if len(found.differences) > SHOWN:
        lines.append(f"  and {len(found.differences) - SHOWN} more (--json)")
    different = found.agreement is Agreement.DIFFERENT
    return Answer(
        {"against": earlier, "git": git, "notes": notes, **asdict(found)},
        lines,
        [f"note: {note}" for note in notes],
        ExitCode.VERIFICATION_FAILED if different else ExitCode.DONE,
    )


def _dirt(git: dict[str, str | bool | None]) -> list[str]:
    if git["revision"] is None:
        return ["no git here: no revision says which code made this audit"]
    if git["dirty"]:
        return [f"the working tree differs from {str(git['revision'])[:10]}: not committed yet"]
    return []
