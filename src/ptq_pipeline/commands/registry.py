"""The registry's commands: gate, promote, rollback, history, status, waive, repair."""

import getpass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from ptq_pipeline.commands.exit_codes import ExitCode
from ptq_pipeline.commands.project import Mount, mount_option, opened
from ptq_pipeline.commands.running import command, env_option, json_option, print_json
from ptq_pipeline.errors import InputError, PtqPipelineError
from ptq_pipeline.plain_text import visible

if TYPE_CHECKING:
    from ptq_pipeline.pipelines.release.parameters import ReleaseParameters
    from ptq_pipeline.registry import Record, Registry
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
    from ptq_pipeline.commands.deciding import current_decision
    from ptq_pipeline.registry import Outcome, excused

    with opened(env, mount) as project:
        decision, evidence = current_decision(project)
        ok, waivers = excused(project.load("registry"), decision, _now())
    # Also where the gate opens: policy may let a class ship without having been judged.
    unjudged = evidence.verdict.get("not_judged")
    touched = [
        {**each.to_json(), "acknowledge": each.acknowledgement} for each in decision.obligations
    ]
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
                "reasons": [reason.to_json() for reason in decision.reasons],
                "not_judged": unjudged,
                "obligations": touched,
                "waivers": [waiver.to_json() for waiver in waivers],
            }
        )
        return code
    click.echo(f"{decision.outcome}: {decision.candidate.trial_id}")
    # Recipe and candidate often have the same reason.
    texts = list(dict.fromkeys(reason.text for reason in decision.reasons))
    for text in texts[:5]:
        click.echo(f"  {visible(text)}")
    if len(texts) > 5:
        click.echo(f"  and {len(texts) - 5} more in decision.json")
    if unjudged:
        click.echo(f"  {visible(unjudged)}")
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
    from ptq_pipeline.commands.deciding import load_parts
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
                *load_parts(project).values(), project.load("registry"), parameters
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
@click.option("--to", "version", default=None, help="Which version.")
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
    """Make an earlier version the champion again, after checking its files.

    The version that serves stays: the same request twice moves nothing twice.
    """
    from ptq_pipeline.pipelines.release.parameters import ReleaseParameters
    from ptq_pipeline.registry import ReleaseTerms
    from ptq_pipeline.registry import rollback as roll_back

    with opened(env, mount) as project:
        registry = project.load("registry")
        if version is None:
            raise InputError(_which_version(registry))
        configured = ReleaseParameters.model_validate(project.group("release"))
        tags = _gto_tags(project, configured) if gto else None
        terms = ReleaseTerms(by=by or getpass.getuser(), now=_now())
        record = roll_back(registry, version, terms, reason)
        new = tags.rolled_back(str(record.champion)) if tags else []
    return _moved(record.to_json(), as_json, new)


@command("history", epilog="Example: kedro ptq history --json | jq '.[].content.version'")
@env_option
@mount_option
@json_option
def history(env: str | None, mount: str | None, as_json: bool) -> None:
    """List every record of the registry, oldest first, after checking the chain."""
    with opened(env, mount) as project:
        registry = project.load("registry")
        records = registry.log.read()
        _print_history(records, as_json)
        # What is there is shown; that something is missing is an error all the same.
        registry.records()


def _print_history(records: "tuple[Record, ...]", as_json: bool) -> None:
    if as_json:
        print_json([record.to_json() for record in records])
        return
    for record in records:
        content = record.content
        what = content.get("version") or content.get("rule") or content.get("outcome") or ""
        by = content.get("by") or content.get("trigger") or ""
        line = f"{record.sequence:4d}  {record.time}  {record.kind:9s}  {what}  {by}"
        click.echo(visible(line))
        if clock := content.get("clock"):
            click.echo(visible(f"      the clock was behind the log and said {clock}"))
        if later := content.get("clock_went_backwards_from"):
            click.echo(f"      the clock went backwards: the record before says {later}")
    if not records:
        click.echo("nothing was promoted yet")


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


@command("repair", epilog="Example: kedro ptq repair, then commit champion_baseline.json")
@env_option
@mount_option
@json_option
def repair(env: str | None, mount: str | None, as_json: bool) -> None:
    """Finish an interrupted change, and write again what does not agree with the log.

    That is the champion pointer and champion_baseline.json. Where records are missing from the
    log, or the champion's files do not hold, nothing is written and the message says what to
    restore.
    """
    from ptq_pipeline.registry import repair as repaired

    with opened(env, mount) as project:
        done = repaired(project.load("registry"))
    if as_json:
        print_json({"done": done})
    for line in [] if as_json else done or ["nothing to repair: log and registry agree"]:
        click.echo(line)


def _which_version(registry: "Registry") -> str:
    before = registry.served_before(registry.records())
    if before is None:
        return "there is no version to roll back to: nothing served before"
    return f"say which version: `kedro ptq rollback --to {before}` is the one that served before"


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
