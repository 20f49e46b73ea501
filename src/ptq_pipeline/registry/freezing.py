"""A policy that is fixed before outcomes: a record in the log, and what evidence makes of it.

The record holds the policy, its hash, and how many questions the audit ledger held when it was
written. Both are hash chains, so that a question which the ledger numbers after it was asked later,
whatever the clock of either machine said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar

from ptq_pipeline.core.canonical import canonical_hash
from ptq_pipeline.core.documents import Document
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.plain_text import plain
from ptq_pipeline.registry.agreement import Registry
from ptq_pipeline.registry.records import Kind, Record, Records


class FrozenPolicy(Document):
    """What the record says.

    Attributes:
        policy: limits, error rates and critical groups, as ``verdict.json`` holds them.
        policy_hash: of its canonical form.
        questions: entries of the audit ledger when it was frozen.
        ledger: hash of the last of them; None where there was none.
        by: who froze it.
        reason: why.
    """

    called: ClassVar[str] = "a frozen policy"
    way_out: ClassVar[str] = "restore the log from a backup"

    policy: dict[str, Any]
    policy_hash: str
    questions: int
    ledger: str | None
    by: str
    reason: str = ""


def freeze(registry: Registry, frozen: FrozenPolicy, now: datetime) -> Record:
    """Record a policy; the one that is frozen already is not recorded twice.

    Raises:
        InputError: the name is empty, or name or reason is no plain text.
    """
    for what, text in (("name", frozen.by), ("reason", frozen.reason)):
        plain(f"the {what} of a frozen policy", text)
    if not frozen.by.strip():
        raise InputError("freezing a policy needs a name (--by)")
    with registry.locked() as records:
        last = last_frozen(records)
        if last is not None and last.content["policy_hash"] == frozen.policy_hash:
            return last
        record = records.next(Kind.POLICY, frozen.to_json(), now)
        registry.change(records, record)
        return record


def last_frozen(records: Records) -> Record | None:
    """Return the record of the policy that was frozen last; None where none was."""
    return next((each for each in reversed(records) if each.kind is Kind.POLICY), None)


def freezing(
    records: Records, policy_hash: str, asked: Sequence[str], entries: Sequence[str]
) -> Mapping[str, Any] | None:
    """Say when the policy of an audit was fixed; None where no policy ever was.

    Args:
        records: The log of the registry.
        policy_hash: Of the audit's policy.
        asked: Hashes of the ledger's entries that the audit's verdict names.
        entries: Hashes of all entries of the ledger, in their order.

    Returns:
        ``record``, ``time``, ``by``, ``reason``, ``policy_hash``, and ``before_outcomes``: whether
        every question of the audit was entered later; None where the audit kept no ledger.

    Raises:
        InputError: the record was edited, or the policy of the audit is another one.
    """
    record = last_frozen(records)
    if record is None:
        return None
    frozen = FrozenPolicy.read(record.content)
    if canonical_hash(frozen.policy) != frozen.policy_hash:
        raise InputError(
            f"record {record.sequence} holds a policy that does not have the hash that it names: "
            "it was edited; restore the log from a backup"
        )
    if frozen.policy_hash != policy_hash:
        raise InputError(
            f"the policy of this audit ({policy_hash[:12]}) is not the one that was frozen on "
            f"{record.time[:10]} ({frozen.policy_hash[:12]}, record {record.sequence}): audit by "
            "the frozen one, or freeze the new one with `kedro ptq policy freeze` before you audit"
        )
    places = [entries.index(each) for each in asked if each in entries]
    before = None
    if places:
        held = frozen.questions <= len(entries) and (
            frozen.questions == 0 or entries[frozen.questions - 1] == frozen.ledger
        )
        before = held and min(places) >= frozen.questions
    return {
        "record": record.sequence,
        "time": record.time,
        "by": frozen.by,
        "reason": frozen.reason,
        "policy_hash": frozen.policy_hash,
        "before_outcomes": before,
    }
