"""The audit of another git revision, read without touching the working tree."""

import hashlib
import json
import subprocess
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.registry.audits import Audit

LOCK = "dvc.lock"
WITHOUT_GIT = "without git, compare with a version of the registry (--against v0001)"


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


def audit_of_version(folder: Path, version: str) -> tuple[Audit, list[str]]:
    """Read the audit that a version of the registry was promoted by; it needs neither git nor DVC.

    Args:
        folder: the version's folder.
        version: its name, for errors.

    Raises:
        InputError: there is no such version, or its files are damaged.
    """
    try:
        contents = [(folder / name).read_bytes() for name in ("verdict.json", "decision.json")]
    except OSError as error:
        raise InputError(
            f"version {version} cannot be read ({error}); see `kedro ptq history`"
        ) from error
    note = f"{version} keeps no {LOCK}: only verdict and decision are compared"
    return _audit(contents, None, version), [note]


def _with_lock(
    contents: list[bytes], lock: bytes, verdict: Path, where: str
) -> tuple[Audit, list[str]]:
    try:
        content = yaml.safe_load(lock)
    except yaml.YAMLError as error:
        raise InputError(f"{LOCK} of {where} cannot be read ({error}); run `dvc repro`") from error
    audit = _audit(contents, content, where)
    own = hashlib.md5(contents[0], usedforsecurity=False).hexdigest()
    path = PurePosixPath(verdict).as_posix()
    if path not in (audit.outs or {}):
        note = (
            f"no DVC stage of {where} writes '{path}' (the shipped dvc.yaml knows the environment "
            "base): only verdict and decision are compared"
        )
        return _audit(contents, None, where), [note]
    if (audit.outs or {}).get(path) != own:
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
