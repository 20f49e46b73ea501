"""What produced a result: package versions, processor and git revision."""

import hashlib
import platform
import subprocess
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = (
    *("ptq-pipeline", "kedro", "torch", "torchvision", "openvino", "numpy", "pandas", "scipy"),
    *("great-expectations", "evidently", "dvc"),
)
# Instruction sets that decide which integer kernels run. Without VNNI, 8-bit products of unsigned
# by signed values are added in 16 bits and may saturate.
RELEVANT_FLAGS = (
    *("sse4_1", "sse4_2", "avx", "avx2", "fma", "f16c", "avx_vnni", "avx_vnni_int8"),
    *("avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16", "avx512_fp16"),
    *("amx_tile", "amx_int8", "amx_bf16", "asimd", "asimddp", "i8mm", "bf16", "sve", "sve2"),
)


def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> list[str]:
    """Return the relevant CPU flags, sorted; only the architecture where they cannot be read."""
    try:
        text = cpuinfo.read_text(encoding="utf-8")
    except OSError:
        return [platform.machine()]
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in {"flags", "Features"}:
            return sorted(set(value.split()) & set(RELEVANT_FLAGS))
    return [platform.machine()]


def exact_products() -> list[str]:
    """Return what multiplies 8-bit integers here without saturating, sorted; [] if nothing does."""
    exact = {"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"}
    return sorted(exact & set(cpu_flags()))


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


def installed(packages: Iterable[str] = PACKAGES) -> dict[str, str | None]:
    """Return the version of each package; null for one that is not installed."""
    versions: dict[str, str | None] = {}
    for package in packages:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return versions


def source_hash(*folders: str) -> str:
    """Return the SHA-256 (hex) of this package's code in some of its folders; all without any."""
    package = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for folder in folders or ("",):
        for path in sorted((package / folder).rglob("*.py")):
            digest.update(path.relative_to(package).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


def describe_machine(root: Path) -> dict[str, Any]:
    """Return versions, processor and git state as JSON-ready data."""
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cpu_flags": cpu_flags(),
        "versions": installed(),
        "git": git_state(root),
    }
