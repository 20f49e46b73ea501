"""`kedro ptq policy`: limits that are fixed before anybody has seen an outcome."""

import getpass
from datetime import UTC, datetime

import click

from ptq_pipeline.commands.command import Answer
from ptq_pipeline.commands.project_command import project_command
from ptq_pipeline.judgement.policy import Policy
from ptq_pipeline.project import Project
from ptq_pipeline.registry.freezing import FrozenPolicy
from ptq_pipeline.registry.freezing import freeze as record_policy


@click.group("policy", epilog="Example: kedro ptq policy freeze --by 'Jo Doe'")
def policy() -> None:
    """Fix limits and error rates before outcomes."""


@project_command(
    epilog="Example: kedro ptq policy freeze --by 'Jo Doe' --reason 'agreed with the shop'",
)
@click.option("--by", default=None, help="Who does it; the login name by default.")
@click.option("--reason", default="", help="Why, for the record.")
def freeze(project: Project, by: str | None, reason: str) -> Answer:
    """Record the policy in the log, with its hash and how many questions were asked so far.

    `kedro ptq evidence` says by it whether limits were fixed before outcomes, and refuses an audit
    by another policy. The policy that is frozen already is not recorded twice.
    """
    chosen = project.settings("worst_case_check", Policy)
    entries = project.load("audit_ledger").entries()
    frozen = FrozenPolicy(
        policy=chosen.to_json(),
        policy_hash=chosen.hash,
        questions=len(entries),
        ledger=entries[-1].hash if entries else None,
        by=by or getpass.getuser(),
        reason=reason,
    )
    record = record_policy(project.load("registry"), frozen, datetime.now(UTC))
    line = (
        f"policy {chosen.hash[:12]} is frozen since {record.time} (record {record.sequence}, after "
        f"{record.content['questions']} questions to audit images)"
    )
    return Answer(record.to_json(), [line])


policy.add_command(freeze)
