"""What produced a result: package versions, processor and git revision."""

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = (
    "ptq-pipeline",
    "kedro",
    "torch",
    "torchvision",
    "openvino",
    "numpy",
    "pandas",
    "scipy",
    "great-expectations",
    "evidently",
    "dvc",
)
# The instructions that decide how integer kernels round and saturate.
_CPU_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "asimddp")


def cpu_flags() -> list[str]:
    """Return the processor's flags that matter to integer kernels; empty where unknown."""
    try:
        words = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    except OSError:
        return []
    return [flag for flag in _CPU_FLAGS if flag in words]


def git_state(root: Path) -> dict[str, Any]:
    """Return the git revision of ``root`` and whether its tree is dirty; nulls without git."""
    try:
        revision, status = (
            subprocess.run(
                ["git", *arguments], cwd=root, capture_output=True, text=True, check=True
            ).stdout.strip()
            for arguments in (["rev-parse", "HEAD"], ["status", "--porcelain"])
        )
    except (OSError, subprocess.CalledProcessError):
        return {"revision": None, "dirty": None}
    return {"revision": revision, "dirty": bool(status)}


def describe_machine(root: Path) -> dict[str, Any]:
    """Return versions, processor and git state as JSON-ready data."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cpu_flags": cpu_flags(),
        "versions": versions,
        "git": git_state(root),
    }
