"""`kedro ptq verify`: every hash of the registry, or this audit beside an earlier one."""

import re

import click

from ptq_pipeline.commands.exit_codes import ExitCode
from ptq_pipeline.commands.project import Mount, mount_option, opened
from ptq_pipeline.commands.running import command, env_option, json_option, print_json
from ptq_pipeline.errors import InputError

VERSION = re.compile(r"v\d{4,}")
SHOWN = 20


@command(
    "verify",
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
@env_option
@mount_option
@json_option
def verify(
    version: str | None,
    against: str | None,
    tolerance: float,
    env: str | None,
    mount: str | None,
    as_json: bool,
) -> int:
    """Recompute every hash of a VERSION, or of all, and name the first that does not hold.

    With --against, compare the audit on disk (of --env and --mount) with an earlier one instead:
    identical, equivalent or different, and where.
    """
    from ptq_pipeline.registry import VerificationError
    from ptq_pipeline.registry import verify as check

    with opened(env, mount) as project:
        if against is not None:
            return _compare_audits(project, against, tolerance / 100, as_json)
        try:
            checked = check(project.load("registry"), version)
            notes = [] if version else _check_last_audit(project)
        except VerificationError as error:
            if as_json:
                print_json({"ok": False, "error": str(error)})
            else:
                click.echo(f"error: {error}", err=True)
            return ExitCode.VERIFICATION_FAILED
    if as_json:
        print_json({"ok": True, "versions": checked, "notes": notes})
    else:
        for note in notes:
            click.echo(f"note: {note}", err=True)
        click.echo(f"every hash holds: {', '.join(checked) or 'no versions yet'}")
    return ExitCode.DONE


def _check_last_audit(project: Mount) -> list[str]:
    """Check the decision of the last audit by what is here of the files that it rests on.

    Returns:
        What could not be checked: git keeps verdict and decision only.

    Raises:
        VerificationError: a file is not the one of the decision.
    """
    from ptq_pipeline.commands.deciding import BESIDE, PARTS, current_decision, place
    from ptq_pipeline.registry import Decision, VerificationError, check_part

    paths = {name: project.root / place(project, name) for name in PARTS}
    missing = [name for name in PARTS if not paths[name].exists()]
    if "decision" in missing:
        return []
    try:
        _check_ledger(project)
        if not missing:
            current_decision(project)
            return []
        decision = Decision.from_json(project.load("decision"))
        hashes = (decision.verdict_hash, decision.comparison_hash, decision.execution_hash)
        for name, expected in zip(BESIDE, hashes, strict=True):
            if name not in missing or name == "verdict":
                check_part(paths[name].name, project.load(name), expected)
    except InputError as error:
        raise VerificationError(f"the last audit: {error}") from error
    where = ", ".join(f"'{place(project, name)}'" for name in missing)
    return [f"the decision of the last audit was not made once more: {where} is not here"]


def _check_ledger(project: Mount) -> None:
    """Check that the audit ledger holds the questions that the verdict names.

    Raises:
        InputError: it lacks one, or does not hold itself.
    """
    opened_by_it = (project.load("verdict").get("ledger") or {}).get("openings", [])
    known = {entry.hash for entry in project.load("audit_ledger").entries()}
    for opening in opened_by_it:
        if opening["entry"] not in known:
            raise InputError(
                f"the audit ledger '{project.path('audit_ledger')}' lacks entry "
                f"{str(opening['entry'])[:16]}, which the verdict names: it was shortened; restore "
                "it from version control"
            )


def _compare_audits(project: Mount, earlier: str, tolerance: float, as_json: bool) -> int:
    from ptq_pipeline.provenance import git_state
    from ptq_pipeline.registry.audits import Agreement, compare_audits
    from ptq_pipeline.registry.revisions import audit_of_revision, audit_of_tree, audit_of_version

    paths = project.path("verdict"), project.path("decision")
    now, notes = audit_of_tree(project.root, *paths)
    if VERSION.fullmatch(earlier):
        before, further = audit_of_version(project.load("registry").folder(earlier), earlier)
    else:
        before, further = audit_of_revision(project.root, earlier, *paths)
    found = compare_audits(before, now, tolerance)
    git = git_state(project.root)
    notes = [*notes, *further, *_dirt(git)]
    if as_json:
        print_json({"against": earlier, "git": git, "notes": notes, **found.to_json()})
    else:
        click.echo(str(found.agreement))
        for each in found.differences[:SHOWN]:
            click.echo(f"  {'! ' if each.matters else ''}{each.where}: {each.before} -> {each.now}")
        if len(found.differences) > SHOWN:
            click.echo(f"  and {len(found.differences) - SHOWN} more (--json)")
        for note in notes:
            click.echo(f"note: {note}", err=True)
    different = found.agreement is Agreement.DIFFERENT
    return ExitCode.VERIFICATION_FAILED if different else ExitCode.DONE


def _dirt(git: dict[str, str | bool | None]) -> list[str]:
    if git["revision"] is None:
        return ["no git here: no revision says which code made this audit"]
    if git["dirty"]:
        return [f"the working tree differs from {str(git['revision'])[:10]}: not committed yet"]
    return []
