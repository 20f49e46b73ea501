"""The only writers of the registry: release a decision, roll back, grant a waiver."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from ptq_pipeline.core.canonical import canonical_hash, file_bytes
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.names import DECISION_FILE, TRIAL_FILE, VERDICT_FILE
from ptq_pipeline.core.plain_text import plain
from ptq_pipeline.judgement.decision import Decision, Outcome
from ptq_pipeline.judgement.sentences import plural
from ptq_pipeline.judgement.verdict import Verdict
from ptq_pipeline.registry.agreement import Registry
from ptq_pipeline.registry.evidence import Evidence
from ptq_pipeline.registry.records import Kind, Record, Records, RegistryError
from ptq_pipeline.registry.store import CARD_FILE, RECORD_FILE, Champion
from ptq_pipeline.registry.waivers import Waiver, uncovered


class ChampionChangedError(RegistryError):
    """Another version became the champion since the decision was made."""


class ReleaseRefusedError(RegistryError):
    """The decision, the environment or an obligation does not allow the release."""


class ReleaseParameters(BaseModel):
    """Which decisions may be released, and what the record says about it.

    Attributes:
        allowed_environments: environments whose decisions are accepted.
        acknowledged: touched obligations that somebody took note of, each by name and figure; see
            `TouchedObligation.acknowledgement`.
        by: who releases.
        trigger: what caused the release, for example ``manual`` or ``drift``.
        gto_name: GTO's name of the artifact, for ``--gto``.
        gto_stage: the stage that the champion has there.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    allowed_environments: tuple[str, ...] = Field(default=("base",), min_length=1)
    acknowledged: tuple[str, ...] = ()
    by: str = ""
    trigger: str = Field(default="manual", min_length=1)
    gto_name: str = Field(default="model", pattern=r"^[a-z][a-z0-9-]*[a-z0-9]$")
    gto_stage: str = Field(default="production", pattern=r"^[a-z][a-z0-9-]*[a-z0-9]$")

    def check_text(self) -> None:
        """Refuse text that would forge a line of the history.

        Raises:
            InputError: it holds a control character.
        """
        plain("the name of who does it", self.by)
        plain("the trigger", self.trigger)
        for text in self.acknowledged:
            plain("an acknowledgement", text)


@dataclass(frozen=True)
class Circumstances:
    """What the record of a release says of its time and place.

    Attributes:
        machine: versions, processor and git state.
        now: the clock; UTC.
        card: writes the model card from the record, as plain values, and the verdict; None for
            no card. The record seals its hash.
    """

    machine: Mapping[str, Any] = field(default_factory=dict)
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    card: Callable[[Mapping[str, Any], Verdict], str] | None = None


def release(
    registry: Registry,
    evidence: Evidence,
    decision: Decision,
    parameters: ReleaseParameters,
    circumstances: Circumstances,
) -> Record:
    """Make the candidate of a decision the champion.

    The same decision released again changes nothing and returns its record.

    Args:
        registry: the registry.
        evidence: what the decision rests on, the candidate's files among it.
        decision: what was decided.
        parameters: what is allowed, and who does it.
        circumstances: when and where.

    Raises:
        ReleaseRefusedError: the decision is no promotion and no waiver covers it, its environment
            is not accepted, an obligation is not acknowledged, or it was released earlier and
            another version serves now.
        ChampionChangedError: another version became the champion since the decision.
        InputError: the files are not those of the decision, or it does not follow from them.
        VerificationError: the log does not hold, or something does not agree with it.
        RegistryError: the registry is locked or cannot be written.
    """
    parameters.check_text()
    evidence.check(decision)
    files = evidence.files
    _check_environment(decision, parameters)
    Evidence.of_files(files)
    with registry.locked() as records:
        champion = registry.champion()
        if (earlier := _released(records, decision, champion)) is not None:
            return earlier
        waivers = _check_outcome(decision, records.waivers_in_force(circumstances.now))
        _check_obligations(decision, parameters)
        _check_champion(records, decision, champion)
        said = {
            "version": f"v{len(records.promotions) + 1:04d}",
            "replaces": champion.version if champion else None,
            **_origin(decision, files, parameters),
            "machine": dict(circumstances.machine),
            "waivers": [waiver.to_json() for waiver in waivers],
        }
        record, card = _recorded(records, said, circumstances, files)
        documents = {DECISION_FILE: decision, RECORD_FILE: record}
        written = {name: file_bytes(each.to_json()) for name, each in documents.items()}
        registry.change(records, record, {**files, **card, **written})
        return record


def _recorded(
    records: Records,
    said: Mapping[str, Any],
    circumstances: Circumstances,
    files: Mapping[str, bytes],
) -> tuple[Record, dict[str, bytes]]:
    """Return the record, and the card that shows it where one is wanted; it holds its hash."""
    record = records.next(Kind.PROMOTION, said, circumstances.now)
    if circumstances.card is None:
        return record, {}
    verdict = Verdict.read(json.loads(files[VERDICT_FILE]))
    card = circumstances.card(record.to_json(), verdict).encode()
    said = {**said, "card": sha256(card).hexdigest()}
    return records.next(Kind.PROMOTION, said, circumstances.now), {CARD_FILE: card}


def rollback(
    registry: Registry, version: str, *, by: str = "", reason: str = "", now: datetime | None = None
) -> Record:
    """Make an earlier version the champion again.

    A version that serves already stays, and its record is returned: the same request again changes
    nothing.

    Returns:
        The record that made the version the champion.

    Raises:
        InputError: a text holds a control character.
        RegistryError: there is no such version.
        VerificationError: its files do not hold.
    """
    plain("the name of who does it", by)
    plain("the reason", reason)
    # What serves may be what is damaged: nothing of it is touched before the other one is checked.
    with registry.locked(repairing=True) as records:
        registry.check_version(records, version)
        served = records.moves[-1]
        if served.champion == version:
            registry.check(records)
            return served
        content = {"version": version, "replaces": served.champion, "by": by, "reason": reason}
        record = records.next(Kind.ROLLBACK, content, now or datetime.now(UTC))
        registry.change(records, record)
        return record


def waive(registry: Registry, waiver: Waiver, now: datetime) -> Record:
    """Record a waiver.

    Raises:
        RegistryError: it has expired already.
    """
    with registry.locked() as records:
        if waiver.has_expired(now.date()):
            raise RegistryError(
                f"a waiver that expired on {waiver.expires} would count for nothing: it is "
                f"{now.date()}"
            )
        record = records.next(Kind.WAIVER, waiver.to_json(), now)
        registry.change(records, record)
        return record


def withdraw(registry: Registry, sequence: int, *, by: str, reason: str, now: datetime) -> Record:
    """Record that a waiver counts no longer; ``sequence`` is the number of its record.

    Raises:
        RegistryError: no waiver in force has that number.
        InputError: name or reason is empty or no plain text.
    """
    for what, text in (("name", by), ("reason", reason)):
        if not plain(f"the {what} of a withdrawal", text).strip():
            raise InputError(f"a withdrawal needs a {what}")
    with registry.locked() as records:
        waivers = records.waivers_by_record(now)
        if sequence not in waivers:
            known = ", ".join(f"{number} ({each.rule})" for number, each in waivers.items())
            raise RegistryError(
                f"record {sequence} is no waiver in force; those in force are {known or 'none'}"
            )
        content = {"waiver": sequence, "rule": waivers[sequence].rule, "by": by, "reason": reason}
        record = records.next(Kind.WITHDRAWAL, content, now)
        registry.change(records, record)
        return record


def note(registry: Registry, content: Mapping[str, Any], now: datetime) -> Record:
    """Record what moves no champion, such as ``retraining needed``, with its evidence.

    The same as in the last record is not recorded twice.
    """
    with registry.locked() as records:
        if records and canonical_hash(records[-1].content) == canonical_hash(content):
            return records[-1]
        record = records.next(Kind.OUTCOME, content, now)
        registry.change(records, record)
        return record


def excused(registry: Registry, decision: Decision, now: datetime) -> tuple[bool, list[Waiver]]:
    """Return whether a decision may be released today, and the waivers that this rests on.

    A waiver that is seen to have expired is recorded, where the registry can be written.
    """
    records = registry.records(needed=False)
    if records:
        # In continuous integration nobody may be allowed to write.
        with suppress(RegistryError):
            records = _expire(registry, now)
    try:
        return True, _check_outcome(decision, records.waivers_in_force(now))
    except ReleaseRefusedError:
        return False, []


def _expire(registry: Registry, now: datetime) -> Records:
    """Record that waivers have expired by now, if no record has seen it yet."""
    with registry.locked() as records:
        by_the_log = records.waivers_in_force(datetime.min.replace(tzinfo=UTC))
        rules = sorted({each.rule for each in by_the_log if each.has_expired(now.date())})
        if not rules:
            return records
        record = records.next(Kind.EXPIRY, {"outcome": ", ".join(rules)}, now)
        registry.change(records, record)
        return records.followed_by(record)


def _released(records: Records, decision: Decision, champion: Champion | None) -> Record | None:
    for version, record in records.promotions.items():
        if record.content["decision_hash"] == decision.hash:
            if champion is not None and champion.version == version:
                return record
            serving = champion.version if champion else "none"
            raise ReleaseRefusedError(
                f"this decision was released on {record.time} as {version}, and {serving} serves "
                f"now; `kedro ptq rollback --to {version}` makes it the champion again"
            )
    return None


def _check_environment(decision: Decision, parameters: ReleaseParameters) -> None:
    if decision.environment not in parameters.allowed_environments:
        raise ReleaseRefusedError(
            f"the decision was made in environment '{decision.environment}', and only those of "
            f"{', '.join(sorted(parameters.allowed_environments))} may be released "
            "(release.allowed_environments)"
        )


def _check_outcome(decision: Decision, waivers: list[Waiver]) -> list[Waiver]:
    """Return the waivers that a release needs."""
    if decision.outcome is Outcome.PROMOTE:
        return []
    left, used = uncovered(decision.reasons, waivers)
    if not left and decision.reasons and decision.candidate.trial_id is not None:
        return used
    text = left[0].text if left else "there is nothing to release"
    raise ReleaseRefusedError(
        f"the decision is '{decision.outcome}' and {len(left)} of its reasons stand: {text}"
    )


def _check_obligations(decision: Decision, parameters: ReleaseParameters) -> None:
    missing = [
        each
        for each in decision.obligations
        if each.touched and not any(map(each.acknowledged_by, parameters.acknowledged))
    ]
    if missing:
        raise ReleaseRefusedError(
            f"{plural(len(missing), 'obligation')} not acknowledged: {missing[0].text} Tell "
            f"those concerned and release with --acknowledge '{missing[0].acknowledgement}' for "
            "each (`kedro ptq gate` lists them); an acknowledgement covers no worse figure than "
            "its own"
        )


def _check_champion(records: Records, decision: Decision, champion: Champion | None) -> None:
    serving = records.promotion(champion.version).content["decision_hash"] if champion else None
    rival = decision.champion
    if serving != (rival and rival.decision_hash):
        name = (rival and rival.version) or "no champion"
        now = champion.version if champion else "none"
        raise ChampionChangedError(
            f"the decision compares with {name}, but the champion is now {now}; run "
            "worst_case_check and promotion again, which read champion_baseline.json"
        )


def _origin(
    decision: Decision, files: Mapping[str, bytes], parameters: ReleaseParameters
) -> dict[str, Any]:
    """What a promotion's record says of decision and candidate."""
    trial, decided = json.loads(files[TRIAL_FILE]), decision.to_json()
    kept = ("decision", "decision_hash", "reasons", "verdict_hash", "environment", "obligations")
    return {
        **{key: decided[key] for key in kept},
        "champion_compared_with": decided["champion"],
        "trial_id": decision.candidate.trial_id,
        "files": dict(decision.candidate.files),
        "hashes": decision.origin(trial),
        "runtime": trial["spec"]["runtime"],
        "acknowledged": sorted(
            text
            for text in parameters.acknowledged
            if any(each.acknowledged_by(text) for each in decision.obligations)
        ),
        "by": parameters.by,
        "trigger": parameters.trigger,
    }
