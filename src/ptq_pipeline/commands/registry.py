"""The registry's commands: gate, promote, rollback, history, waive, withdraw, repair."""

import getpass
import json
from datetime import UTC, datetime
from pathlib import Path

import click

from ptq_pipeline.commands.command import Answer
from ptq_pipeline.commands.described import described
from ptq_pipeline.commands.project_command import project_command
from ptq_pipeline.core.documents import Document
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.exits import ExitCode
from ptq_pipeline.core.names import TRIAL_FILE
from ptq_pipeline.core.plain_text import visible
from ptq_pipeline.judgement.champion import Comparison
from ptq_pipeline.judgement.decision import Decision, Execution, Outcome
from ptq_pipeline.judgement.verdict import Verdict
from ptq_pipeline.pipelines.release.nodes import gather_evidence, release_candidate
from ptq_pipeline.project import Project
from ptq_pipeline.registry.agreement import Registry
from ptq_pipeline.registry.evidence import Evidence
from ptq_pipeline.registry.gto import GtoTags
from ptq_pipeline.registry.records import Record
from ptq_pipeline.registry.release import (
    ChampionChangedError,
    ReleaseParameters,
    ReleaseRefusedError,
    excused,
)
from ptq_pipeline.registry.release import rollback as roll_back
from ptq_pipeline.registry.release import waive as grant
from ptq_pipeline.registry.release import withdraw as end_waiver
from ptq_pipeline.registry.tracking import send
from ptq_pipeline.registry.tracking_parameters import TrackingParameters
from ptq_pipeline.registry.waivers import Waiver, check_against

MOST_REASONS = 5
# What a decision rests on beside the candidate's files, by names in the catalog.
BESIDE: dict[str, type[Document]] = {
    "verdict": Verdict,
    "champion_comparison": Comparison,
    "candidate_execution": Execution,
}
PARTS = ("decision", *BESIDE, "candidate_model")

gto_option = click.option(
    "--gto", is_flag=True, help="Tag it in git with GTO as well; needs a clean tree."
)
by_option = click.option("--by", default=None, help="Who does it; the login name by default.")


def current_decision(project: Project) -> tuple[Decision, Evidence]:
    """Load the decision of the last audit and what it rests on, and decide once more by that."""
    decision, evidence = _last_decision(project)
    evidence.check(decision)
    return decision, evidence


def _last_decision(project: Project) -> tuple[Decision, Evidence]:
    """Load decision and evidence as they are; an error says how what is missing comes back."""
    decision, parts = project.document("decision", Decision), {}
    for name in PARTS[1:]:
        try:
            kind = BESIDE.get(name)
            parts[name] = project.document(name, kind) if kind else project.load(name)
        except InputError as error:
            raise InputError(
                f"the decision rests on '{place(project, name)}', which is needed to act on it: "
                f"{error}. Of an audit that git and DVC keep, `dvc pull` brings it back"
            ) from error
    return decision, gather_evidence(*parts.values())


def place(project: Project, name: str) -> Path | str:
    """Say where a part of the decision is, or its name where the catalog has no such file."""
    try:
        return project.path(name)
    except InputError:
        return name


@project_command(
    epilog="Exits with 0 to promote, 3 when refused, 4 when inconclusive. "
    "Example: kedro ptq gate --json",
)
def gate(project: Project) -> Answer:
    """Say by exit code whether the last decision lets the candidate ship.

    Waivers that cover every reason open the gate; the output names them, and the obligations that
    a release must acknowledge.
    """
    decision, evidence = current_decision(project)
    ok, waivers = excused(project.load("registry"), decision, _now())
    # Also where the gate opens: policy may let a class ship without having been judged.
    unjudged, worst = evidence.verdict.not_judged, evidence.verdict.candidate.worst_groups
    touched = [
        {**each.to_json(), "acknowledge": each.acknowledgement} for each in decision.obligations
    ]
    refused = decision.outcome is Outcome.REFUSE
    code = ExitCode.DONE if ok else ExitCode.REFUSED if refused else ExitCode.INCONCLUSIVE
    content = {
        "decision": str(decision.outcome),
        "decision_hash": decision.hash,
        "exit_code": int(code),
        "reasons": [reason.to_json() for reason in decision.reasons],
        "worst_groups": [each.to_json() for each in worst],
        "not_judged": unjudged,
        "obligations": touched,
        "waivers": [waiver.to_json() for waiver in waivers],
    }
    trial = json.loads(evidence.files.get(TRIAL_FILE, b"{}"))
    about = described(trial, evidence.verdict.to_json()) or str(decision.candidate.trial_id)
    lines = [f"{decision.outcome}: {about}"]
    texts = [reason.text for reason in decision.distinct_reasons]
    lines += [f"  {text}" for text in texts[:MOST_REASONS]]
    if len(texts) > MOST_REASONS:
        lines.append(f"  and {len(texts) - MOST_REASONS} more in decision.json")
    lines += [f"  {each.sentence.text}" for each in worst[:1]]
    if unjudged:
        lines.append(f"  {unjudged}")
    lines += [
        f"  {each['text']} To acknowledge: --acknowledge '{each['acknowledge']}'"
        for each in touched
    ]
    lines += [f"  waived until {each.expires} by {each.by}: {each.rule}" for each in waivers]
    return Answer(content, map(visible, lines), code=code)


@project_command(
    epilog="Exits with 3 when the release is refused. Example: kedro ptq promote --by 'Jo Doe'",
)
@by_option
@click.option(
    "--acknowledge",
    multiple=True,
    help="A touched obligation that those concerned know of, with its figure, as `gate` prints it.",
)
@click.option("--trigger", default=None, help="What caused it; 'manual' by default.")
@gto_option
def promote(
    project: Project,
    *,
    by: str | None,
    acknowledge: tuple[str, ...],
    trigger: str | None,
    gto: bool,
) -> Answer:
    """Make the candidate of the last decision the champion.

    The same decision again changes nothing.
    """
    configured = project.settings("release", ReleaseParameters)
    parameters = configured.model_copy(
        update={
            "by": by or configured.by or getpass.getuser(),
            "acknowledged": (*configured.acknowledged, *acknowledge),
            "trigger": trigger or configured.trigger,
        }
    )
    tags = _gto_tags(project, configured) if gto else None
    try:
        decision, evidence = _last_decision(project)
        # The release checks the one by the other.
        record = release_candidate(decision, evidence, project.load("registry"), parameters)
    except (ReleaseRefusedError, ChampionChangedError) as error:
        refused = {"refused": str(error)}
        return Answer(refused, notes=[f"refused: {error}"], code=ExitCode.REFUSED)
    _follow(project)
    return _moved(record, tags.promoted(str(record.champion)) if tags else [])


@project_command(epilog="Example: kedro ptq rollback --to v0003 --reason 'complaints from Oslo'")
@click.option("--to", "version", default=None, help="Which version.")
@click.option("--reason", default="", help="Why, for the record.")
@by_option
@gto_option
def rollback(
    project: Project, *, version: str | None, reason: str, by: str | None, gto: bool
) -> Answer:
    """Make an earlier version the champion again, after checking its files.

    The version that serves stays: the same request twice moves nothing twice.
    """
    registry = project.load("registry")
    if version is None:
        raise InputError(_which_version(registry))
    configured = project.settings("release", ReleaseParameters)
    tags = _gto_tags(project, configured) if gto else None
    record = roll_back(registry, version, by=by or getpass.getuser(), reason=reason)
    _follow(project)
    return _moved(record, tags.rolled_back(str(record.champion)) if tags else [])


@project_command(
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
def waive(
    project: Project, rule: str, *, reason: str, expires: str, by: str | None, **only: str | None
) -> Answer:
    """Record that RULE may be broken until a day, and why.

    It must excuse a reason of the last decision. It counts at the gate and at the release;
    verdicts and decisions do not change. `kedro ptq withdraw` ends it before its day.
    """
    waiver = Waiver.granted(rule, reason, expires, by or getpass.getuser(), **only)
    check_against(waiver, project.document("decision", Decision).reasons)
    record = grant(project.load("registry"), waiver, _now())
    return Answer(
        record.to_json(), [f"{rule} is waived until {expires} (record {record.sequence})"]
    )


@project_command(
    epilog="RECORD is the waiver's number, as `kedro ptq status` prints it. "
    "Example: kedro ptq withdraw 7 --reason 'the shop no longer agrees'",
)
@click.argument("record", type=click.IntRange(1))
@click.option("--reason", required=True, help="Why it counts no longer.")
@by_option
def withdraw(project: Project, record: int, reason: str, by: str | None) -> Answer:
    """End the waiver of RECORD before its day; the log keeps both."""
    registry = project.load("registry")
    ended = end_waiver(registry, record, by=by or getpass.getuser(), reason=reason, now=_now())
    return Answer(
        ended.to_json(),
        [f"the waiver of {ended.content['rule']} (record {record}) counts no longer"],
    )


@project_command(epilog="Example: kedro ptq recover, then commit champion_baseline.json")
def recover(project: Project) -> Answer:
    """Finish an interrupted change, and write again what does not agree with the log.

    That is the champion pointer and champion_baseline.json. Where records are missing from the
    log, or the champion's files do not hold, nothing is written and the message says what to
    restore.
    """
    done = project.load("registry").repair()
    return Answer({"done": done}, done or ["nothing to recover: log and registry agree"])


def _which_version(registry: Registry) -> str:
    before = registry.records().served_before
    if before is None:
        return "there is no version to roll back to: nothing served before"
    return f"say which version: `kedro ptq rollback --to {before}` is the one that served before"


def _gto_tags(project: Project, configured: ReleaseParameters) -> GtoTags:
    """Check that tags can be made before anything is promoted."""
    baseline = project.load("registry").baseline
    tags = GtoTags(project.root, configured.gto_name, configured.gto_stage, baseline)
    tags.check()
    return tags


def _follow(project: Project) -> None:
    """Let MLflow's registry follow, where a server is configured; what is on disk has happened."""
    settings = project.settings("mlflow", TrackingParameters)
    send(settings, "the registry", lambda to: to.follow(project.load("registry")))


def _moved(record: Record, tags: list[str]) -> Answer:
    content = record.content
    lines = [f"champion: {content['version']} (before: {content['replaces'] or 'none'})"]
    said = record.to_json() | ({"tags": tags} if tags else {})
    return Answer(said, [*lines, *(f"tag: {tag}" for tag in tags)])


def _now() -> datetime:
    return datetime.now(UTC)
