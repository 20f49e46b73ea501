"""The registry's commands: gate, promote, rollback, history, status, waive."""

import getpass
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
    from ptq_pipeline.pipelines.release.parameters import ReleaseParameters
    from ptq_pipeline.registry import Champion, Record, Registry
    from ptq_pipeline.registry.gto import GtoTags

gto_option = click.option(
    "--gto", is_flag=True, help="Tag it in git with GTO as well; needs a clean tree."
)
by_option = click.option("--by", default=None, help="Who does it; the login name by default.")


@command(
    "gate",
    epilog="Exits with 0 to promote, 3 when refused, 4 when inconclusive. "
    "Example: kedro ptq gate --json",
)
@env_option
@mount_option
@json_option
def gate(env: str | None, mount: str | None, as_json: bool) -> int:
    """Say by exit code whether the last decision lets the candidate ship.

    Waivers that cover every reason open the gate; the output names them, and the obligations that
    a release must acknowledge.
    """
    from ptq_pipeline.registry import Decision, Outcome, excused
    from ptq_pipeline.reliability import acknowledgement

    with opened(env, mount) as project:
        decision = Decision.from_json(project.load("decision"))
        ok, waivers = excused(project.load("registry"), decision, _now())
    touched = [{**each, "acknowledge": acknowledgement(each)} for each in decision.touched]
    code = ExitCode.DONE
    if not ok:
        refused = decision.outcome is Outcome.REFUSE
        code = ExitCode.REFUSED if refused else ExitCode.INCONCLUSIVE
    if as_json:
        print_json(
            {
                "decision": str(decision.outcome),
                "decision_hash": decision.hash,
                "exit_code": int(code),
                "reasons": [dict(reason) for reason in decision.reasons],
                "obligations": touched,
                "waivers": [waiver.to_json() for waiver in waivers],
            }
        )
        return code
    click.echo(f"{decision.outcome}: {decision.candidate.trial_id}")
    for reason in decision.reasons[:5]:
        click.echo(f"  {visible(reason['text'])}")
    if len(decision.reasons) > 5:
        click.echo(f"  and {len(decision.reasons) - 5} more in decision.json")
    for each in touched:
        text = f"  {each['text']} To acknowledge: --acknowledge '{each['acknowledge']}'"
        click.echo(visible(text))
    for waiver in waivers:
        click.echo(visible(f"  waived until {waiver.expires} by {waiver.by}: {waiver.rule}"))
    return code


@command(
    "promote",
    epilog="Exits with 3 when the release is refused. Example: kedro ptq promote --by 'Jo Doe'",
)
@env_option
@mount_option
@by_option
@click.option(
    "--acknowledge",
    multiple=True,
    help="A touched obligation that those concerned know of, with its figure, as `gate` prints it.",
)
@click.option("--trigger", default=None, help="What caused it; 'manual' by default.")
@gto_option
@json_option
def promote(
    env: str | None,
    mount: str | None,
    by: str | None,
    acknowledge: tuple[str, ...],
    trigger: str | None,
    gto: bool,
    as_json: bool,
) -> int:
    """Make the candidate of the last decision the champion.

    The same decision again changes nothing.
    """
    from ptq_pipeline.pipelines.release.nodes import release_candidate
    from ptq_pipeline.pipelines.release.parameters import ReleaseParameters
    from ptq_pipeline.registry import ChampionChangedError, ReleaseRefusedError

    with opened(env, mount) as project:
        configured = ReleaseParameters.model_validate(project.group("release"))
        parameters = configured.model_copy(
            update={
                "by": by or configured.by or getpass.getuser(),
                "acknowledged": (*configured.acknowledged, *acknowledge),
                "trigger": trigger or configured.trigger,
            }
        )
        tags = _gto_tags(project, configured) if gto else None
        try:
            record = release_candidate(
                project.load("decision"),
                project.load("candidate_model"),
                project.load("registry"),
                parameters,
            )
        except (ReleaseRefusedError, ChampionChangedError) as error:
            return _refused(error, as_json)
        new = tags.promoted(record["content"]["version"]) if tags else []
    return _moved(record, as_json, new)


@command(
    "rollback", epilog="Example: kedro ptq rollback --to v0003 --reason 'complaints from Oslo'"
)
@env_option
@mount_option
@click.option("--to", "version", default=None, help="Which version; the one before by default.")
@click.option("--reason", default="", help="Why, for the record.")
@by_option
@gto_option
@json_option
def rollback(
    env: str | None,
    mount: str | None,
    version: str | None,
    reason: str,
    by: str | None,
    gto: bool,
    as_json: bool,
) -> int:
    """Make an earlier version the champion again, after checking its files."""
    from ptq_pipeline.pipelines.release.parameters import ReleaseParameters
    from ptq_pipeline.registry import ReleaseTerms
    from ptq_pipeline.registry import rollback as roll_back

    with opened(env, mount) as project:
        configured = ReleaseParameters.model_validate(project.group("release"))
        tags = _gto_tags(project, configured) if gto else None
        terms = ReleaseTerms(by=by or getpass.getuser(), now=_now())
        record = roll_back(project.load("registry"), version, terms, reason)
        new = tags.rolled_back(str(record.champion)) if tags else []
    return _moved(record.to_json(), as_json, new)


@command("history", epilog="Example: kedro ptq history --json | jq '.[].content.version'")
@env_option
@mount_option
@json_option
def history(env: str | None, mount: str | None, as_json: bool) -> None:
    """List every record of the registry, oldest first, after checking the chain."""
    with opened(env, mount) as project:
        records = project.load("registry").log.read()
    if as_json:
        print_json([record.to_json() for record in records])
        return
    for record in records:
        content = record.content
        what = content.get("version") or content.get("rule") or content.get("outcome") or ""
        by = content.get("by") or content.get("trigger") or ""
        line = f"{record.sequence:4d}  {record.time}  {record.kind:9s}  {what}  {by}"
        click.echo(visible(line))
        if later := content.get("clock_went_backwards_from"):
            click.echo(f"      the clock went backwards: the record before says {later}")
    if not records:
        click.echo("nothing was promoted yet")


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
            f"  a change to {found['interrupted']} was interrupted; the next `kedro ptq promote` "
            "or `rollback` finishes it"
        )
    if unsolved := found["unsolved"]:
        click.echo(
            f"{unsolved['outcome']} since {unsolved['since']} ({unsolved['trigger']}, record "
            f"{unsolved['record']}); until then serve: {unsolved['serve'] or 'nothing'}"
        )
    if not found["baseline_matches"]:
        click.echo("  champion_baseline.json is not the champion's; promote or rollback rewrite it")
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


@command(
    "waive",
    epilog="RULE is the `rule` of a reason, as `kedro ptq gate --json` prints it. "
    "Example: kedro ptq waive candidate.limit --group Sandal --reason 'the shop agreed' "
    "--expires 2027-03-31",
)
@click.argument("rule")
@click.option("--reason", required=True, help="Why the rule may be broken.")
@click.option("--expires", required=True, help="Last day on which the waiver counts: YYYY-MM-DD.")
@click.option("--group", default=None, help="Only for this group.")
@click.option("--shift", default=None, help="Only under this shift.")
@by_option
@env_option
@mount_option
@json_option
def waive(
    rule: str,
    reason: str,
    expires: str,
    group: str | None,
    shift: str | None,
    by: str | None,
    env: str | None,
    mount: str | None,
    as_json: bool,
) -> None:
    """Record that RULE may be broken until a day, and why.

    It counts at the gate and at the release; verdicts and decisions do not change.
    """
    from ptq_pipeline.registry import Waiver
    from ptq_pipeline.registry import waive as grant

    waiver = Waiver(rule, reason, expires, by or getpass.getuser(), group, shift)
    with opened(env, mount) as project:
        record = grant(project.load("registry"), waiver, _now())
    if as_json:
        print_json(record.to_json())
    else:
        click.echo(f"{rule} is waived until {expires} (record {record.sequence})")


def _status(project: Mount, champion: "Champion | None") -> dict[str, Any]:
    import json

    from ptq_pipeline.registry import counted_day

    registry: Registry = project.load("registry")
    records = registry.log.read()
    since = next((r.time for r in records if champion and r.hash == champion.record_hash), None)
    interrupted, unsolved = registry.interrupted(records), registry.unsolved(records)
    try:
        known = json.loads(registry.baseline.read_text(encoding="utf-8")).get("version")
    except (OSError, ValueError, AttributeError):
        known = "unreadable"
    today = counted_day(records, _now()).isoformat()
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
        "baseline_matches": known == (champion.version if champion else None),
        "waivers": [w.to_json() for w in registry.waivers(records) if w.expires >= today],
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


def _gto_tags(project: Mount, configured: "ReleaseParameters") -> "GtoTags":
    """Check that tags can be made before anything is promoted."""
    from ptq_pipeline.registry.gto import GtoTags

    baseline = project.load("registry").baseline
    tags = GtoTags(project.root, configured.gto_name, configured.gto_stage, baseline)
    tags.check()
    return tags


def _moved(record: dict[str, Any], as_json: bool, tags: list[str]) -> int:
    if as_json:
        print_json({**record, "tags": tags} if tags else record)
    else:
        content = record["content"]
        click.echo(f"champion: {content['version']} (before: {content['replaces'] or 'none'})")
        for tag in tags:
            click.echo(f"tag: {tag}")
    return ExitCode.DONE


def _refused(error: PtqPipelineError, as_json: bool) -> int:
    if as_json:
        print_json({"refused": str(error)})
    else:
        click.echo(f"refused: {error}", err=True)
    return ExitCode.REFUSED


def _now() -> datetime:
    return datetime.now(UTC)
