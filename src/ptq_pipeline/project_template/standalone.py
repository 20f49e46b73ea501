"""A Kedro project around one mount, for those who have none yet."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

# Name of the mount, and of the package that a project of its own has.
MOUNT, PACKAGE = "audit", "audit_project"

_PYPROJECT = """[tool.kedro]
package_name = "{package}"
project_name = "{package}"
kedro_init_version = "{kedro}"
source_dir = "src"
"""

_SETTINGS = '''"""Kedro's settings: environments say what is different, and nothing phones home."""

from ptq_pipeline.settings import CONFIG_LOADER_ARGS  # noqa: F401
'''

_REGISTRY = '''"""All pipelines of this project."""

from kedro.framework.project import find_pipelines


def register_pipelines():
    """Find them in `pipelines`; a plain `kedro run` runs the audit."""
    pipelines = find_pipelines(raise_errors=True)
    return {**pipelines, "__default__": sum(pipelines.values())}
'''

_ENTRIES = """# Written by `kedro ptq audit`: what is audited. The rest is in catalog_ptq.yml.
"""


def standalone_files(kedro: str, entries: Mapping[str, Any]) -> dict[Path, str]:
    """Return what a project needs beside the files of its mount, by path relative to the project.

    Args:
        kedro: Kedro's version.
        entries: Catalog entries of what is audited, by their names in the mount.
    """
    package = Path("src") / PACKAGE
    named = {f"{MOUNT}.{name}": entry for name, entry in entries.items()}
    catalog = yaml.safe_dump(named, sort_keys=False, allow_unicode=True, width=100)
    return {
        Path("pyproject.toml"): _PYPROJECT.format(package=PACKAGE, kedro=kedro),
        Path(".telemetry"): "consent: false\n",
        Path(".gitignore"): "data/\nconf/local/*\n!.gitkeep\n__pycache__/\n",
        Path("conf/local/.gitkeep"): "",
        Path("conf/base") / f"catalog_{MOUNT}.yml": _ENTRIES + catalog,
        package / "__init__.py": '"""The audit of one model."""\n',
        package / "settings.py": _SETTINGS,
        package / "pipeline_registry.py": _REGISTRY,
        package / "pipelines/__init__.py": "",
    }


def with_values(text: str, changes: Mapping[str, Any]) -> str:
    r"""Replace values of a YAML text, and leave its comments and all else as they are.

    Args:
        text: The text.
        changes: New values by their keys, with points between.

    Raises:
        KeyError: The text has no such key.

    Examples:
        >>> with_values("a:\n  b: 1  # why\n", {"a.b": 2})
        'a:\n  b: 2  # why\n'
    """
    for place, value in changes.items():
        node: Any = yaml.compose(text)
        for key in place.split("."):
            node = {name.value: inner for name, inner in node.value}[key]
        written = json.dumps(value, ensure_ascii=False)
        text = text[: node.start_mark.index] + written + text[node.end_mark.index :]
    return text
