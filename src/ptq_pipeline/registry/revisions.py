"""The audit of another git revision, read without touching the working tree."""

import hashlib
import json
import subprocess
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from ptq_pipeline.errors import InputError
from ptq_pipeline.registry.audits import Audit

LOCK = "dvc.lock"


def audit_of_tree(root: Path, verdict: Path, decision: Path) -> tuple[Audit, list[str]]:
    """Read the audit of the working tree.

    Args:
        root: root of the project.
        verdict: where ``verdict.json`` stands, relative to the root.
        decision: where ``decision.json`` stands.

    Returns:
        The audit, and what could not be compared.

    Raises:
        InputError: naming the file that is missing or damaged, and what to run.
    """
    contents = []
    for path in (verdict, decision):
        try:
            contents.append((root / path).read_bytes())
        except OSError as error:
            raise InputError(f"'{path}' cannot be read ({error}); run an audit first") from error
    lock = root / LOCK
    if not lock.is_file():
        audit = _audit(contents, None, "the working tree")
        return audit, [f"there is no {LOCK}: only verdict and decision are compared (`dvc repro`)"]
    return _with_lock(contents, lock.read_bytes(), verdict, "the working tree")


def audit_of_revision(
    root: Path, revision: str, verdict: Path, decision: Path
) -> tuple[Audit, list[str]]:
    """Read the audit of a git revision; arguments and results as :func:`audit_of_tree`.

    Raises:
        InputError: git is missing, this is no repository, or the revision holds no such file.
    """
    contents = [_show(root, revision, path) for path in (verdict, decision)]
    try:
        lock = _show(root, revision, PurePosixPath(LOCK))
    except InputError:
        note = f"{revision} has no {LOCK}: only verdict and decision are compared"
        return _audit(contents, None, revision), [note]
    return _with_lock(contents, lock, verdict, revision)


def _with_lock(
    contents: list[bytes], lock: bytes, verdict: Path, where: str
) -> tuple[Audit, list[str]]:
    try:
        content = yaml.safe_load(lock)
    except yaml.YAMLError as error:
        raise InputError(f"{LOCK} of {where} cannot be read ({error}); run `dvc repro`") from error
    audit = _audit(contents, content, where)
    own = hashlib.md5(contents[0], usedforsecurity=False).hexdigest()
    if (audit.outs or {}).get(PurePosixPath(verdict).as_posix()) != own:
        note = (
            f"{LOCK} of {where} does not belong to its verdict: only verdict and decision are "
            "compared (`dvc commit` adopts the files of a plain `kedro run`)"
        )
        return _audit(contents, None, where), [note]
    return audit, []


def _audit(contents: list[bytes], lock: Any, where: str) -> Audit:
    try:
        verdict, decision = (json.loads(content) for content in contents)
    except ValueError as error:
        raise InputError(f"verdict or decision of {where} is damaged ({error})") from error
    for content, keys in (
        (verdict, {"result", "recipe", "candidate", "draw_spread", "policy_hash"}),
        (decision, {"decision", "champion"}),
    ):
        if missing := keys - set(content):
            raise InputError(
                f"verdict or decision of {where} has no '{min(missing)}': it was written by "
                "another version of this package"
            )
    return Audit.from_lock(verdict, decision, lock)


def _show(root: Path, revision: str, path: Path | PurePosixPath) -> bytes:
    name = PurePosixPath(path).as_posix()
    if revision.startswith("-"):
        raise InputError(f"'{revision}' is no revision")
    try:
        found = subprocess.run(
            ["git", "show", f"{revision}:./{name}"], cwd=root, capture_output=True, check=False
        )
    except OSError as error:
        raise InputError(
            f"git is needed to read revision '{revision}' and cannot be run ({error}); install it, "
            "or compare with `dvc metrics diff` elsewhere"
        ) from error
    if found.returncode:
        said = found.stderr.decode(errors="replace").strip().splitlines()
        raise InputError(
            f"git cannot show '{name}' of revision '{revision}': {said[0] if said else 'no reason'}"
        )
    return found.stdout
