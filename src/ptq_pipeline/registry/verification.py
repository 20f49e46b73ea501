"""Recompute every hash of a registry and name the first that does not hold."""

import json
from hashlib import sha256

from ptq_pipeline.core.canonical import canonical_hash
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.judgement.decision import Decision
from ptq_pipeline.registry.errors import RegistryError, VerificationError
from ptq_pipeline.registry.evidence import COMPARISON_FILE, EXECUTION_FILE
from ptq_pipeline.registry.records import Record
from ptq_pipeline.registry.store import CARD_FILE, DECISION_FILE, RECORD_FILE, Registry


def verify(registry: Registry, version: str | None = None) -> list[str]:
    """Check that everything agrees with the log, and the files of one version, or of all.

    Args:
        registry: the registry.
        version: only this one; None for every version.

    Returns:
        The versions whose files were checked, oldest first.

    Raises:
        VerificationError: naming the first file that does not hold.
        RegistryError: there is no such version.
    """
    promotions = registry.promotions(registry.records())
    if version is not None and version not in promotions:
        known = ", ".join(promotions) or "none"
        raise RegistryError(f"version '{version}' does not exist; the versions are {known}")
    checked = [version] if version is not None else list(promotions)
    for each in checked:
        check_version(registry, promotions[each])
    return checked


def check_version(registry: Registry, promotion: Record) -> None:
    """Check every file of one version against its record.

    Raises:
        VerificationError: naming the first file that is missing, added or changed.
    """
    version = str(promotion.content["version"])
    folder = registry.folder(version)
    expected = dict(promotion.content["files"])
    if "card" in promotion.content:
        expected[CARD_FILE] = promotion.content["card"]
    found = {
        path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()
    }
    for name in sorted({*expected, *found} - {DECISION_FILE, RECORD_FILE}):
        digest = sha256(found[name].read_bytes()).hexdigest() if name in found else "missing"
        if expected.get(name) != digest:
            raise VerificationError(
                f"version {version}: file '{folder / name}' is not the one that was promoted "
                f"({digest}); restore it from a backup, or roll back to another version"
            )
    try:
        decision = Decision.from_json(json.loads((folder / DECISION_FILE).read_text("utf-8")))
        copy = json.loads((folder / RECORD_FILE).read_text("utf-8"))
        verdict = json.loads((folder / "verdict.json").read_text("utf-8"))
        hashes = decision.origin(json.loads((folder / "trial.json").read_text("utf-8")))
        # Versions of earlier releases hold none.
        further = {
            name: canonical_hash(json.loads(found[name].read_text("utf-8")))
            for name in (COMPARISON_FILE, EXECUTION_FILE)
            if name in found
        }
    except (OSError, ValueError, KeyError, TypeError, InputError) as error:
        raise VerificationError(
            f"version {version}: '{folder}' is damaged ({error}); restore it from a backup, or "
            "roll back to another version"
        ) from error
    for name, what, then in (
        (DECISION_FILE, decision.hash, promotion.content["decision_hash"]),
        ("trial.json", hashes, promotion.content["hashes"]),
        (RECORD_FILE, copy, promotion.to_json()),
        ("verdict.json", canonical_hash(verdict), decision.verdict_hash),
        (COMPARISON_FILE, further.get(COMPARISON_FILE), decision.comparison_hash),
        (EXECUTION_FILE, further.get(EXECUTION_FILE), decision.execution_hash),
    ):
        if name not in found:
            continue
        if what != then:
            raise VerificationError(
                f"version {version}: file '{folder / name}' does not belong to its record; restore "
                "it from a backup"
            )
