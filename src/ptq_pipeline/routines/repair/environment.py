"""The winner as a Kedro environment: a folder below conf/ that `kedro run --env` takes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.files import write_file
from ptq_pipeline.ptq import find_method
from ptq_pipeline.routines.repair.space import Variant

MARK = "# Written by `kedro ptq repair`, which also replaces it."


def changes_of(
    winner: Variant, method: Mapping[str, Any], calibration: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Return what the winner changes of the configuration, by parameter group.

    Options that the configured method has as well are said whatever they are, others where they are
    not the default; those that the winner's method does not have are removed by null.
    """
    own = {"name": winner.method.name, **winner.method.to_json()}
    default = find_method(winner.method.name).configure({}).to_json()
    always = {*method, "name", "weight_bits", "activation_bits"}
    said = {key: own[key] for key in own if key in always or own[key] != default.get(key)}
    removed = dict.fromkeys(sorted(set(method) - set(own)))
    found = {"quantization": {"method": {**said, **removed}}}
    changed = {k: v for k, v in winner.calibration.items() if calibration.get(k) != v}
    return {**found, "calibration": changed} if changed else found


def check_environment(root: Path, name: str) -> Path:
    """Return the folder of an environment that a repair may write.

    Raises:
        InputError: the name is no name of a folder, or somebody else wrote the environment.
    """
    if not name.isidentifier() or name in ("base", "local"):
        raise InputError(
            f"--name: '{name}' cannot be an environment of its own; use letters, digits and "
            "underscores"
        )
    folder = root / "conf" / name
    ours = any(MARK in file.read_text("utf-8") for file in folder.glob("parameters_*.yml"))
    if folder.exists() and not ours:
        raise InputError(
            f"'conf/{name}' exists and was not written by `kedro ptq repair`; give another --name"
        )
    return folder


def write_environment(
    folder: Path,
    changes: Mapping[str, Mapping[str, Any]],
    says: str,
    origin: Path | None = None,
) -> None:
    """Write an environment of some changed parameters, with a sentence on top.

    It holds all that the environment ``origin`` says, in which the search ran, and the changes on
    top of it. Credentials stay where they are.
    """
    contents = {} if origin is None else _contents(origin)
    globals_file = contents.pop("globals.yml", {})
    name = folder.name
    own = {**globals_file, "data": f"data/{name}", "environment": name}
    for group, values in changes.items():
        known = (file for file, content in contents.items() if group in content)
        file = next(known, f"parameters_{group}.yml")
        contents[file] = _merged(contents.get(file, {}), {group: values})
    # Names of groups come from outside: none of them ends the comment.
    line = " ".join(says.split())
    heads = {file: f"{MARK}\n# {line}\n" for file in contents if file.startswith("parameters")}
    for old in folder.glob("*.yml"):
        if old.name not in contents:
            old.unlink()
    for file, content in {"globals.yml": own, **contents}.items():
        text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
        write_file(folder / file, (heads.get(file, "") + text).encode())


def _contents(folder: Path) -> dict[str, dict[str, Any]]:
    files = [file for file in sorted(folder.glob("*.yml")) if "credentials" not in file.name]
    return {file.name: yaml.safe_load(file.read_text("utf-8")) or {} for file in files}


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return what Kedro makes of two environments: mappings are merged, the rest is replaced."""
    both = OmegaConf.merge(OmegaConf.create(dict(below)), OmegaConf.create(dict(above)))
    found: dict[str, Any] = OmegaConf.to_container(both, resolve=False)  # type: ignore[assignment]
    return found


def of_mount(
    mount: str, groups: Mapping[str, Any], changes: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Return the changes as a host of a mount needs them: an environment replaces it as a whole."""
    changed = {name: {**groups.get(name, {}), **values} for name, values in changes.items()}
    return {mount: {**groups, **changed}}
