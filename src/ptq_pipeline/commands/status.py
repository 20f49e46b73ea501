"""`kedro ptq status`: what serves, what is waived, and what waits for somebody."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ptq_pipeline.commands.exit_codes import ExitCode
from ptq_pipeline.commands.project import Mount, mount_option, opened
from ptq_pipeline.commands.running import command, env_option, json_option, print_json
from ptq_pipeline.errors import PtqPipelineError
from ptq_pipeline.plain_text import visible

if TYPE_CHECKING:
    from ptq_pipeline.registry import Champion, Record, Registry


@command("status", epilog="Exits with 5 when the log is damaged. Example: kedro ptq status --json")
@env_option
@mount_option
@json_option
def status(env: str | None, mount: str | None, as_json: bool) -> int:
    """Say what serves, what is waived, and what waits for somebody.

    What serves is read from the pointer alone, so a damaged log does not hide it.
    """
    from ptq_pipeline.registry import VerificationError

    with opened(env, mount) as project:
        champion = project.load("registry").champion()
        try:
            found = _status(project, champion)
        except VerificationError as error:
            return _damaged(champion, error, as_json)
    if as_json:
        print_json(found)
        return ExitCode.DONE
    click.echo(f"champion: {found['champion'] or 'none yet'}")
    for path in found["missing"]:
        click.echo(
            f"  missing: {path}; restore it from a backup, or `kedro ptq rollback` to another "
            "version"
        )
    if found["since"]:
        click.echo(f"  since {found['since']}")
    if found["interrupted"]:
        click.echo(
            f"  a change to {found['interrupted']} was interrupted; `kedro ptq repair` or the next "
            "change finishes it"
        )
    if unsolved := found["unsolved"]:
        click.echo(
            f"{unsolved['outcome']} since {unsolved['since']} ({unsolved['trigger']}, record "
            f"{unsolved['record']}); until then serve: {unsolved['serve'] or 'nothing'}"
        )
    for waiver in found["waivers"]:
        text = f"waiver until {waiver['expires']}: {waiver['rule']} ({waiver['reason']})"
        click.echo(visible(text))
    for path in found["uncommitted_dvc_files"]:
        click.echo(f"waits for a git commit: {path}")
    return ExitCode.DONE


def _damaged(champion: "Champion | None", error: PtqPipelineError, as_json: bool) -> int:
    version = champion.version if champion else None
    if as_json:
        print_json({"champion": version, "error": str(error)})
    else:
        click.echo(f"champion: {version or 'none yet'}")
        click.echo(f"error: {error}", err=True)
    return ExitCode.VERIFICATION_FAILED


def _status(project: Mount, champion: "Champion | None") -> dict[str, Any]:
    from ptq_pipeline.registry import waivers_in_force

    registry: Registry = project.load("registry")
    records = registry.records()
    since = next((r.time for r in records if champion and r.hash == champion.record_hash), None)
    interrupted, unsolved = registry.interrupted(records), registry.unsolved(records)
    waivers = waivers_in_force(registry, records, datetime.now(UTC))
    return {
        "champion": champion.version if champion else None,
        "folder": str(champion.folder) if champion else None,
        "missing": _missing(registry, records, champion),
        "since": since,
        "interrupted": interrupted.champion if interrupted else None,
        "unsolved": unsolved
        and {
            "record": unsolved.sequence,
            "since": unsolved.time,
            **{key: unsolved.content.get(key) for key in ("outcome", "trigger", "serve")},
        },
        "waivers": [each.to_json() for each in waivers],
        "uncommitted_dvc_files": _uncommitted_dvc_files(project),
    }


def _missing(
    registry: "Registry", records: "tuple[Record, ...]", champion: "Champion | None"
) -> list[str]:
    """Files of the champion that are not there; `verify` also reads those that are."""
    promotion = registry.promotions(records).get(champion.version) if champion else None
    if champion is None or promotion is None:
        return []
    paths = [champion.folder / name for name in promotion.content["files"]]
    return [str(path) for path in paths if not path.is_file()]


def _uncommitted_dvc_files(project: Mount) -> list[str]:
    """Return the `.dvc` files that git lacks and the `.gitignore` that DVC wrote beside them."""
    import subprocess

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=project.root, capture_output=True, text=True, check=True
        ).stdout

    try:
        above = git("rev-parse", "--show-prefix").strip()
        changed = git(
            *("status", "--porcelain", "-z", "--no-renames", "--untracked-files=all"),
            *("--", "*.dvc", "*.gitignore"),
        )
    except (OSError, subprocess.CalledProcessError):
        return []
    # Each is `XY path`, from the root of the repository, which may be above the project's.
    paths = [Path(line[3:].removeprefix(above)) for line in changed.split("\0") if line]
    return sorted(
        path.as_posix()
        for path in paths
        if path.suffix == ".dvc" or any((project.root / path).parent.glob("?*.dvc"))
    )
