"""Two audits side by side: identical, equivalent or different, and where.

Identical means equal bytes. Processors may round differently, so an audit that is repeated
elsewhere can change a few answers: it is equivalent when verdict, policy and subject are the same
and every drop lies within a tolerance. The earlier audit is read from git, without touching the
working tree, or from a version of the registry.
"""

import hashlib
import json
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path, PurePath
from typing import Any

import yaml

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.names import DECISION_FILE, VERDICT_FILE

LOCK = "dvc.lock"
WITHOUT_GIT = "without git, compare with a version of the registry (--against v0001)"
TOLERANCE = 0.005
# Drops of small groups move in steps of one answer.
ANSWERS = 2
CELL_LISTS = {"candidate": ("drop",), "draw_spread": ("drop_mean", "drop_min", "drop_max")}
VERDICT_KEYS = {"result", "recipe", "candidate", "draw_spread", "policy_hash"}
DECISION_KEYS = {"decision", "champion"}
# What makes two audits different, by what people call it, and where it is.
DECISIVE = {
    "verdict": ("verdict", "result"),
    "policy": ("verdict", "policy_hash"),
    "schema": ("verdict", "schema_version"),
    **{
        f"recipe {key}": ("verdict", "recipe", key)
        for key in ("strategy", "draws", "set_size", "pool_size")
    },
    "decision": ("decision", "decision"),
    "champion compared with": ("decision", "champion"),
}
SET_ID = ("verdict", "candidate", "set_id")


class Agreement(StrEnum):
    """How far two audits agree."""

    IDENTICAL = "identical"
    EQUIVALENT = "equivalent"
    DIFFERENT = "different"


@dataclass(frozen=True)
class StoredAudit:
    """What an audit left in git.

    Attributes:
        verdict: content of ``verdict.json``.
        decision: content of ``decision.json``.
        outs: hash of every out by its path, from ``dvc.lock``; empty where it is not of this audit.
        params: value of every parameter by its stage and name, likewise.
        notes: what could not be compared.
        where: what it is called.
        md5: of the verdict's bytes.
    """

    verdict: Mapping[str, Any]
    decision: Mapping[str, Any]
    outs: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    where: str = ""
    md5: str = ""

    def at(self, place: tuple[str, ...]) -> Any:
        """Return what is at a place of verdict or decision; None where nothing is."""
        found: Any = vars(self)
        for key in place:
            found = (found or {}).get(key)
        return found


@dataclass(frozen=True)
class Difference:
    """One place where two audits differ; if it matters, they are not even equivalent."""

    where: str
    before: Any
    now: Any
    matters: bool


@dataclass(frozen=True)
class AuditComparison:
    """What the comparison found; the differences that matter come first."""

    agreement: Agreement
    differences: tuple[Difference, ...]


def compare_audits(
    before: StoredAudit, now: StoredAudit, tolerance: float = TOLERANCE
) -> AuditComparison:
    """Compare an earlier audit with this one.

    The drops of equivalent audits, which are fractions, differ by the tolerance at most; two
    answers of a group are always allowed.
    """
    found = [
        Difference(name, before.at(place), now.at(place), True)
        for name, place in DECISIVE.items()
        if before.at(place) != now.at(place)
    ]
    # Drops of two candidates may differ for that reason alone; those over all draws may not.
    same = before.at(SET_ID) == now.at(SET_ID)
    if not same:
        name = "candidate's calibration set"
        found.append(Difference(name, before.at(SET_ID), now.at(SET_ID), False))
    for part in CELL_LISTS:
        matters = same or part != "candidate"
        found += _cells(part, _rows(before, part), _rows(now, part), tolerance if matters else None)
    found += _mappings("parameter ", before.params, now.params)
    found += _mappings("", before.outs, now.outs)
    found.sort(key=lambda each: not each.matters)
    if any(each.matters for each in found):
        agreement = Agreement.DIFFERENT
    elif found or before.verdict != now.verdict or before.decision != now.decision:
        agreement = Agreement.EQUIVALENT
    else:
        agreement = Agreement.IDENTICAL
    return AuditComparison(agreement, tuple(found))


Rows = Mapping[tuple[str, ...], Mapping[str, Any]]


def _rows(audit: StoredAudit, part: str) -> Rows:
    rows = audit.verdict["candidate"]["cells"] if part == "candidate" else audit.verdict[part]
    return {(row["level"], row["group"], row["shift"]): row for row in rows}


def _cells(part: str, before: Rows, now: Rows, tolerance: float | None) -> Iterator[Difference]:
    """Compare cell by cell; without a tolerance no difference of drops matters."""
    for key in sorted({*before, *now}):
        level, group, shift = key
        name = f"{part.replace('_', ' ')}: {level} {group} under {shift}"
        if key not in before or key not in now:
            there = {True: "present", False: "missing"}
            yield Difference(name, there[key in before], there[key in now], True)
            continue
        old, new = before[key], now[key]
        if old["n"] != new["n"]:
            yield Difference(f"{name}, samples", old["n"], new["n"], True)
            continue
        for column in CELL_LISTS[part]:
            gap = abs(old[column] - new[column])
            if gap > 0:
                # Floating-point noise in a difference of exact fractions is no answer.
                wide = tolerance is not None and gap > max(tolerance, ANSWERS / old["n"]) + 1e-12
                yield Difference(f"{name}, {column}", old[column], new[column], wide)


def _mappings(
    prefix: str, before: Mapping[str, Any], now: Mapping[str, Any]
) -> Iterator[Difference]:
    if before and now:
        for key in sorted({*before, *now}):
            if before.get(key) != now.get(key):
                # What a parameter or a file changes shows in verdict and decision, if it matters.
                yield Difference(f"{prefix}{key}", before.get(key), now.get(key), False)


def audit_of_tree(root: Path, verdict: Path, decision: Path) -> StoredAudit:
    """Read the audit of the working tree; the paths are relative to the root of the project.

    Raises:
        InputError: naming the file that is missing or damaged, and what to run.
    """
    contents = []
    for path in (verdict, decision):
        try:
            contents.append((root / path).read_bytes())
        except OSError as error:
            raise InputError(f"'{path}' cannot be read ({error}); run an audit first") from error
    audit = _audit(contents, "the working tree")
    if not (root / LOCK).is_file():
        return _alone(audit, f"there is no {LOCK}", " (`dvc repro`)")
    return _with_lock(audit, (root / LOCK).read_bytes(), verdict)


def audit_of_revision(root: Path, revision: str, verdict: Path, decision: Path) -> StoredAudit:
    """Read the audit of a git revision; the paths are relative to the root of the project.

    Raises:
        InputError: git is missing, this is no repository, or the revision holds no such file.
    """
    audit = _audit([_show(root, revision, path) for path in (verdict, decision)], revision)
    try:
        lock = _show(root, revision, LOCK)
    except InputError:
        return _alone(audit, f"{revision} has no {LOCK}")
    return _with_lock(audit, lock, verdict)


def audit_of_version(folder: Path, version: str) -> StoredAudit:
    """Read the audit that a version of the registry was promoted by; it needs neither git nor DVC.

    Raises:
        InputError: there is no such version, or its files are damaged.
    """
    try:
        contents = [(folder / name).read_bytes() for name in (VERDICT_FILE, DECISION_FILE)]
    except OSError as error:
        raise InputError(
            f"version {version} cannot be read ({error}); see `kedro ptq history`"
        ) from error
    return _alone(_audit(contents, version), f"{version} keeps no {LOCK}")


def _audit(contents: list[bytes], where: str) -> StoredAudit:
    try:
        verdict, decision = (json.loads(content) for content in contents)
    except ValueError as error:
        raise InputError(f"verdict or decision of {where} is damaged ({error})") from error
    for content, keys in ((verdict, VERDICT_KEYS), (decision, DECISION_KEYS)):
        if missing := keys - set(content):
            raise InputError(
                f"verdict or decision of {where} has no '{min(missing)}': it was written by "
                "another version of this package"
            )
    md5 = hashlib.md5(contents[0], usedforsecurity=False).hexdigest()
    return StoredAudit(verdict, decision, where=where, md5=md5)


def _alone(audit: StoredAudit, why: str, way_out: str = "") -> StoredAudit:
    """Note why there is no lock to compare."""
    note = f"{why}: only verdict and decision are compared{way_out}"
    return replace(audit, notes=(note,))


def with_lock(audit: StoredAudit, lock: Mapping[str, Any]) -> StoredAudit:
    """Add outs and parameters from the content of ``dvc.lock``.

    Raises:
        InputError: it is no lock file of a version that this release reads.
    """
    outs: dict[str, str] = {}
    params: dict[str, Any] = {}
    try:
        for stage, content in lock["stages"].items():
            outs |= {out["path"]: out["md5"] for out in content.get("outs", [])}
            for values in content.get("params", {}).values():
                params |= {f"{stage}: {name}": value for name, value in values.items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"dvc.lock cannot be read ({error}); run `dvc repro`") from error
    return replace(audit, outs=outs, params=params)


def _with_lock(audit: StoredAudit, lock: bytes, verdict: Path) -> StoredAudit:
    """Add outs and parameters if the lock belongs to this verdict, or note that it does not."""
    try:
        locked = with_lock(audit, yaml.safe_load(lock) or {"stages": {}})
    except yaml.YAMLError as error:
        raise InputError(
            f"{LOCK} of {audit.where} cannot be read ({error}); run `dvc repro`"
        ) from error
    path = verdict.as_posix()
    if path not in locked.outs:
        why = f"no DVC stage of {audit.where} writes '{path}' (the shipped dvc.yaml knows the "
        return _alone(audit, f"{why}environment base)")
    if locked.outs[path] != audit.md5:
        return _alone(
            audit,
            f"{LOCK} of {audit.where} does not belong to its verdict",
            " (`dvc commit` adopts the files of a plain `kedro run`)",
        )
    return locked


def _show(root: Path, revision: str, path: Path | str) -> bytes:
    name = PurePath(path).as_posix()
    if revision.startswith("-"):
        raise InputError(f"'{revision}' is no revision")
    found = _git(root, revision, "show", f"{revision}:./{name}")
    if found is not None:
        return found
    if _git(root, revision, "rev-parse", "--git-dir") is None:
        raise InputError(
            f"'{root}' is not in a git repository, so revision '{revision}' cannot be read; "
            f"{WITHOUT_GIT}"
        )
    if _git(root, revision, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}") is None:
        raise InputError(
            f"git knows no revision '{revision}'; give a commit, branch or tag (a shallow clone "
            "needs `git fetch --unshallow`), or a version of the registry"
        )
    raise InputError(
        f"revision '{revision}' holds no '{name}': of the shipped environments only base keeps its "
        f"audit in git; for this one `git add --force {name}` before the commit, or compare with "
        "a version of the registry (--against v0001)"
    )


def _git(root: Path, revision: str, *arguments: str) -> bytes | None:
    """Return what git says; None where it refuses."""
    try:
        found = subprocess.run(["git", *arguments], cwd=root, capture_output=True, check=False)
    except OSError as error:
        raise InputError(
            f"git is needed to read revision '{revision}' and cannot be run ({error}); install it: "
            f"{WITHOUT_GIT}"
        ) from error
    return None if found.returncode else found.stdout
