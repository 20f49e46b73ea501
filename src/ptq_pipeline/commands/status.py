"""`kedro ptq status`: what serves, what is waived, and what waits for somebody."""

import json
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from ptq_pipeline.commands.command import Answer, say
from ptq_pipeline.commands.described import described_version
from ptq_pipeline.commands.project_command import project_command
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.exits import ExitCode
from ptq_pipeline.core.files import write_file
from ptq_pipeline.core.names import VERDICT_FILE
from ptq_pipeline.core.plain_text import visible
from ptq_pipeline.project import Project
from ptq_pipeline.registry.agreement import Registry
from ptq_pipeline.registry.records import Records, VerificationError
from ptq_pipeline.registry.store import Champion


@project_command(epilog="Exits with 5 when the log is damaged. Example: kedro ptq status --json")
def status(project: Project) -> Answer:
    """Say what serves, what is waived, and what waits for somebody.

    What serves is read from the pointer alone, so a damaged log does not hide it.
    """
    champion = project.load("registry").champion()
    version = champion.version if champion else None
    try:
        found = _status(project, champion)
    except VerificationError as error:
        return Answer(
            {"champion": version, "error": str(error)},
            [f"champion: {version or 'none yet'}"],
            [f"error: {error}"],
            ExitCode.VERIFICATION_FAILED,
        )
    return Answer(found, _lines(found))


@project_command(
    epilog="Examples: kedro ptq history --json | jq '.[].content.version'; "
    "kedro ptq history --html history.html",
)
@click.option(
    "--html",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write it to this page, with the worst group of every version beside its limit.",
)
def history(project: Project, html: Path | None) -> None:
    """List every record of the registry, oldest first, after checking the chain."""
    registry = project.load("registry")
    records = registry.log.read()
    if html is not None:
        language = project.group("reporting").get("language", "en")
        write_file(html, _history_page(records, registry, language).encode())
    say(Answer([record.to_json() for record in records], _history(records, registry)))
    # What is there is shown; that something is missing is an error all the same.
    registry.records()


def _history(records: Records, registry: Registry) -> Iterator[str]:
    for record in records:
        content = record.content
        what = content.get("version") or content.get("rule") or content.get("outcome") or ""
        by = content.get("by") or content.get("trigger") or ""
        line = f"{record.sequence:4d}  {record.time}  {record.kind:9s}  {what}  {by}"
        yield visible(line)
        if record.champion and (about := described_version(registry.folder(record.champion))):
            yield visible(f"      {about}")
        if clock := content.get("clock"):
            yield visible(f"      the clock was behind the log and said {clock}")
        if later := content.get("clock_went_backwards_from"):
            yield f"      the clock went backwards: the record before says {later}"
    if not records:
        yield "nothing was promoted yet"


def _history_page(records: Records, registry: Registry, language: str) -> str:
    # The page needs pandas and matplotlib, the list does not.
    from ptq_pipeline.judgement.verdict import Verdict
    from ptq_pipeline.reporting.pages import Version, versions_page

    def verdict(folder: Path) -> Verdict | None:
        try:
            return Verdict.read(json.loads((folder / VERDICT_FILE).read_text(encoding="utf-8")))
        except (OSError, ValueError, InputError):
            return None

    promotions = records.promotions
    versions = [
        Version(each.to_json(), described_version(folder), verdict(folder))
        for name, each in promotions.items()
        for folder in [registry.folder(name)]
    ]
    promoted = {each.sequence for each in promotions.values()}
    others = [each.to_json() for each in records if each.sequence not in promoted]
    return versions_page(versions, others, language)


def _lines(found: dict[str, Any]) -> Iterator[str]:
    yield f"champion: {found['champion'] or 'none yet'}"
    if found["about"]:
        yield visible(f"  {found['about']}")
    for path in found["missing"]:
        yield (
            f"  missing: {path}; restore it from a backup, or `kedro ptq rollback` to another "
            "version"
        )
    if found["since"]:
        yield f"  since {found['since']}"
    if found["interrupted"]:
        yield (
            f"  a change to {found['interrupted']} was interrupted; `kedro ptq recover` or the "
            "next change finishes it"
        )
    if unsolved := found["unsolved"]:
        yield (
            f"{unsolved['outcome']} since {unsolved['since']} ({unsolved['trigger']}, record "
            f"{unsolved['record']}); until then serve: {unsolved['serve'] or 'nothing'}"
        )
    for waiver in found["waivers"]:
        yield visible(
            f"waiver until {waiver['expires']}: {waiver['rule']} ({waiver['reason']}); record "
            f"{waiver['record']}"
        )
    for path in found["uncommitted_dvc_files"]:
        yield f"waits for a git commit: {path}"


def _status(project: Project, champion: Champion | None) -> dict[str, Any]:
    registry: Registry = project.load("registry")
    records = registry.records()
    since = next((r.time for r in records if champion and r.hash == champion.record_hash), None)
    interrupted, unsolved = registry.interrupted(records), records.unsolved
    waivers = records.waivers_by_record(datetime.now(UTC))
    return {
        "champion": champion.version if champion else None,
        "folder": str(champion.folder) if champion else None,
        "about": described_version(champion.folder) if champion else "",
        "missing": _missing(registry, records, champion),
        "since": since,
        "interrupted": interrupted.champion if interrupted else None,
        "unsolved": unsolved
        and {
            "record": unsolved.sequence,
            "since": unsolved.time,
            **{key: unsolved.content.get(key) for key in ("outcome", "trigger", "serve")},
        },
        "waivers": [{"record": number, **each.to_json()} for number, each in waivers.items()],
        "uncommitted_dvc_files": _uncommitted_dvc_files(project),
    }


def _missing(registry: Registry, records: Records, champion: Champion | None) -> list[str]:
    """Files of the champion that are not there; `verify` also reads those that are."""
    promotion = records.promotions.get(champion.version) if champion else None
    if champion is None or promotion is None:
        return []
    paths = [champion.folder / name for name in promotion.content["files"]]
    return [str(path) for path in paths if not path.is_file()]


def _uncommitted_dvc_files(project: Project) -> list[str]:
    """Return the `.dvc` files that git lacks and the `.gitignore` that DVC wrote beside them."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=project.root, capture_output=True, text=True, check=True
        ).stdout

    try:
        above = git("rev-parse", "--show-prefix").strip()
        changed = git(
            "status",
            "--porcelain",
            "-z",
            "--no-renames",
            "--untracked-files=all",
            "--",
            "*.dvc",
            "*.gitignore",
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
