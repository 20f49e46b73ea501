"""The only writers of the registry: release a decision, roll back, grant a waiver."""

import json
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from ptq_pipeline.core.canonical import canonical_hash, file_bytes
from ptq_pipeline.core.plain_text import plain
from ptq_pipeline.judgement import Verdict
from ptq_pipeline.judgement.decision import Decision, Outcome
from ptq_pipeline.judgement.sentences import plural
from ptq_pipeline.registry import agreement
from ptq_pipeline.registry.errors import (
    ChampionChangedError,
    RegistryError,
    ReleaseRefusedError,
)
from ptq_pipeline.registry.evidence import Evidence
from ptq_pipeline.registry.records import CLOCK, Kind, Record
from ptq_pipeline.registry.store import CARD_FILE, DECISION_FILE, RECORD_FILE, Registry
from ptq_pipeline.registry.verification import check_version
from ptq_pipeline.registry.waivers import Waiver, uncovered


@dataclass(frozen=True)
class ReleaseTerms:
    """What a release may do, and what it records about itself.

    Attributes:
        environments: environments whose decisions are accepted.
        acknowledged: touched obligations that somebody took note of, each by name and figure; see
            :func:`.acknowledgement`.
        by: who releases.
        trigger: what caused it, for example ``manual`` or ``drift``.
        machine: versions, processor and git state.
        now: the clock; UTC.
        card: writes the model card from the record, as plain values, and the verdict; None for
            no card. The record seals its hash.
    """

    environments: Collection[str] = ("base",)
    acknowledged: Collection[str] = ()
    by: str = ""
    trigger: str = "manual"
    machine: Mapping[str, Any] = field(default_factory=dict)
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    card: Callable[[Mapping[str, Any], Verdict], str] | None = None

    def __post_init__(self) -> None:
        """Refuse text that would forge a line of the history."""
        plain("the name of who does it", self.by)
        plain("the trigger", self.trigger)
        for text in self.acknowledged:
            plain("an acknowledgement", text)


def release(
    registry: Registry,
    decision: Decision,
    files: Mapping[str, bytes],
    terms: ReleaseTerms,
) -> Record:
    """Make the candidate of a decision the champion.

    The same decision released again changes nothing and returns its record.

    Args:
        registry: the registry.
        decision: what was decided; its seal has been checked.
        files: the candidate's files by name, without its index.
        terms: what is allowed.

    Returns:
        The promotion's record.

    Raises:
        ReleaseRefusedError: the decision is no promotion and no waiver covers it, its environment
            is not accepted, an obligation is not acknowledged, or it was released earlier and
            another version serves now.
        ChampionChangedError: another version became the champion since the decision.
        InputError: the files are not those of the decision, or it does not follow from them.
        VerificationError: the log does not hold, or something does not agree with it.
        RegistryError: the registry is locked or cannot be written.
    """
    _check_environment(decision, terms)
    Evidence.of_files(files).check(decision.to_json())
    with registry.locked() as records:
        earlier = _released(registry, records, decision)
        if earlier is not None:
            return earlier
        waivers = _check_outcome(decision, waivers_in_force(registry, records, terms.now))
        _check_obligations(decision, terms)
        _check_champion(registry, records, decision)
        version = f"v{len(registry.promotions(records)) + 1:04d}"
        content = _promotion(decision, files, terms, version, waivers, registry)
        card = _card(terms, _next_record(records, Kind.PROMOTION, content, terms.now), files)
        if card is not None:
            content |= {"card": sha256(card).hexdigest()}
        record = _next_record(records, Kind.PROMOTION, content, terms.now)
        written = {
            **files,
            **({} if card is None else {CARD_FILE: card}),
            DECISION_FILE: file_bytes(decision.to_json()),
            RECORD_FILE: file_bytes(record.to_json()),
        }
        registry.change(records, record, written)
        return record


def _card(terms: ReleaseTerms, record: Record, files: Mapping[str, bytes]) -> bytes | None:
    if terms.card is None:
        return None
    verdict = Verdict.read(json.loads(files["verdict.json"]))
    return terms.card(record.to_json(), verdict).encode()


def rollback(registry: Registry, version: str, terms: ReleaseTerms, reason: str = "") -> Record:
    """Make an earlier version the champion again.

    A version that serves already stays, and its record is returned: the same request again changes
    nothing.

    Args:
        registry: the registry.
        version: which.
        terms: who and when.
        reason: why, for the record.

    Returns:
        The record that made the version the champion.

    Raises:
        RegistryError: there is no such version.
        VerificationError: its files do not hold.
    """
    plain("the reason", reason)
    # What serves may be what is damaged: nothing of it is touched before the other one is checked.
    with registry.locked(repairing=True) as records:
        promotions = registry.promotions(records)
        if version not in promotions:
            known = ", ".join(promotions) or "none"
            raise RegistryError(f"version '{version}' does not exist; the versions are {known}")
        served = next(record for record in reversed(records) if record.champion is not None)
        check_version(registry, promotions[version])
        if served.champion == version:
            agreement.check(registry, records)
            return served
        content = {
            "version": version,
            "replaces": served.champion,
            "by": terms.by,
            "reason": reason,
        }
        record = _next_record(records, Kind.ROLLBACK, content, terms.now)
        registry.change(records, record)
        return record


def repair(registry: Registry) -> list[str]:
    """Write again, from a log that holds, what does not agree with it.

    Nothing is repaired where records are missing, or where a version's files do not hold.

    Returns:
        What was done, a sentence each.

    Raises:
        VerificationError: naming what has to be restored first.
    """
    done = []
    with registry.exclusive() as records:
        agreement.check_folders(registry, records, registry.pending_change())
        moves = [record for record in records if record.champion is not None]
        if moves:
            check_version(registry, registry.promotions(records)[str(moves[-1].champion)])
        if agreement.must_be_written(registry, records):
            registry.write_baseline(records)
            done.append(f"'{registry.baseline}' is written from the log; commit it")
        if registry.pending_change() is not None:
            registry.finish_interrupted(records)
            done.append("a change that was interrupted is finished or undone")
        if moves and registry.pointed() != (moves[-1].champion, moves[-1].hash):
            registry.switch(moves[-1])
            done.append(f"the champion pointer names {moves[-1].champion} again")
        agreement.check(registry, records)
    return done


def waive(registry: Registry, waiver: Waiver, now: datetime) -> Record:
    """Record a waiver.

    Raises:
        RegistryError: it has expired already.
    """
    with registry.locked() as records:
        if waiver.expires < now.date().isoformat():
            raise RegistryError(
                f"a waiver that expired on {waiver.expires} would count for nothing: it is "
                f"{now.date()}"
            )
        record = _next_record(records, Kind.WAIVER, waiver.to_json(), now)
        registry.change(records, record)
        return record


def note(registry: Registry, content: Mapping[str, Any], now: datetime) -> Record:
    """Record what moves no champion, such as ``retraining needed``, with its evidence.

    The same as in the last record is not recorded twice.
    """
    with registry.locked() as records:
        if records and canonical_hash(records[-1].content) == canonical_hash(content):
            return records[-1]
        record = _next_record(records, Kind.OUTCOME, content, now)
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
        return True, _check_outcome(decision, waivers_in_force(registry, records, now))
    except ReleaseRefusedError:
        return False, []


def waivers_in_force(
    registry: Registry, records: tuple[Record, ...], now: datetime
) -> list[Waiver]:
    """Return the waivers that count: neither the clock nor a record has seen their last day pass.

    A clock that went backwards revives none: the log remembers what was seen to expire. A record
    that was written under a clock that ran ahead ends those before it, not those that are granted
    after it.
    """
    granted = {record.sequence: record for record in records if record.kind is Kind.WAIVER}
    return [
        waiver
        for sequence, waiver in zip(granted, registry.waivers(records), strict=True)
        if not waiver.has_expired(max([now.date(), *(each.day for each in records[sequence:])]))
    ]


def _expire(registry: Registry, now: datetime) -> tuple[Record, ...]:
    """Record that waivers have expired by now, if no record has seen it yet."""
    with registry.locked() as records:
        by_the_log = waivers_in_force(registry, records, datetime.min.replace(tzinfo=UTC))
        rules = sorted({each.rule for each in by_the_log if each.has_expired(now.date())})
        if not rules:
            return records
        record = _next_record(records, Kind.EXPIRY, {"outcome": ", ".join(rules)}, now)
        registry.change(records, record)
        return (*records, record)


def _released(registry: Registry, records: tuple[Record, ...], decision: Decision) -> Record | None:
    for version, record in registry.promotions(records).items():
        if record.content["decision_hash"] == decision.hash:
            champion = registry.champion()
            if champion is not None and champion.version == version:
                return record
            serving = champion.version if champion else "none"
            raise ReleaseRefusedError(
                f"this decision was released on {record.time} as {version}, and {serving} serves "
                f"now; `kedro ptq rollback --to {version}` makes it the champion again"
            )
    return None


def _check_environment(decision: Decision, terms: ReleaseTerms) -> None:
    if decision.environment not in terms.environments:
        raise ReleaseRefusedError(
            f"the decision was made in environment '{decision.environment}', and only those of "
            f"{', '.join(sorted(terms.environments))} may be released "
            "(release.allowed_environments)"
        )


def _check_outcome(decision: Decision, waivers: list[Waiver]) -> list[Waiver]:
    if decision.outcome is Outcome.PROMOTE:
        return []
    left, used = uncovered(decision.reasons, waivers)
    if not left and decision.reasons and decision.candidate.trial_id is not None:
        return used
    text = left[0].text if left else "there is nothing to release"
    raise ReleaseRefusedError(
        f"the decision is '{decision.outcome}' and {len(left)} of its reasons stand: {text}"
    )


def _check_obligations(decision: Decision, terms: ReleaseTerms) -> None:
    missing = [
        each
        for each in decision.obligations
        if each.touched and not any(map(each.acknowledged_by, terms.acknowledged))
    ]
    if missing:
        raise ReleaseRefusedError(
            f"{plural(len(missing), 'obligation')} not acknowledged: {missing[0].text} Tell "
            f"those concerned and release with --acknowledge '{missing[0].acknowledgement}' for "
            "each (`kedro ptq gate` lists them); an acknowledgement covers no worse figure than "
            "its own"
        )


def _check_champion(registry: Registry, records: tuple[Record, ...], decision: Decision) -> None:
    champion = registry.champion()
    serving = None
    if champion is not None:
        promotion = registry.promotions(records)[champion.version]
        serving = promotion.content["decision_hash"]
    rival = decision.champion
    if serving != (rival and rival.decision_hash):
        name = (rival and rival.version) or "no champion"
        now = champion.version if champion else "none"
        raise ChampionChangedError(
            f"the decision compares with {name}, but the champion is now {now}; run "
            "worst_case_check and promotion again, which read champion_baseline.json"
        )


def _promotion(
    decision: Decision,
    files: Mapping[str, bytes],
    terms: ReleaseTerms,
    version: str,
    waivers: list[Waiver],
    registry: Registry,
) -> dict[str, Any]:
    trial, decided = json.loads(files["trial.json"]), decision.to_json()
    champion = registry.champion()
    return {
        "version": version,
        "replaces": champion.version if champion else None,
        **{key: decided[key] for key in ("decision", "decision_hash", "reasons", "verdict_hash")},
        **{key: decided[key] for key in ("environment", "obligations")},
        "champion_compared_with": decided["champion"],
        "trial_id": decision.candidate.trial_id,
        "files": dict(decision.candidate.files),
        "hashes": decision.origin(trial),
        "runtime": trial["spec"]["runtime"],
        "machine": dict(terms.machine),
        "acknowledged": sorted(
            text
            for text in terms.acknowledged
            if any(each.acknowledged_by(text) for each in decision.obligations)
        ),
        "waivers": [waiver.to_json() for waiver in waivers],
        "by": terms.by,
        "trigger": terms.trigger,
    }


def _next_record(
    records: tuple[Record, ...], kind: Kind, content: Mapping[str, Any], now: datetime
) -> Record:
    """Return the next record; its time is never before that of the last one."""
    time = now.astimezone(UTC).isoformat(timespec="seconds")
    last = records[-1] if records else None
    if last is not None and time < last.time:
        content, time = {**content, CLOCK: time}, last.time
    return Record(len(records) + 1, kind, time, last.hash if last else None, content)
