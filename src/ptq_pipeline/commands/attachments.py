"""What other programs add to an evidence archive: packages as CycloneDX, a PDF, a signature."""

import os
import re
import shutil
import subprocess
import tempfile
import uuid
from importlib.metadata import Distribution, distributions
from pathlib import Path

from ptq_pipeline.core.canonical import canonical_hash
from ptq_pipeline.core.errors import InputError

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
# Chromium would look for updates and synchronise.
SWITCHES = (
    "--headless", "--disable-gpu", "--no-first-run", "--disable-sync", "--disable-extensions",
    "--disable-background-networking", "--disable-component-update", "--no-pdf-header-footer",
)  # fmt: skip
SECONDS = 120
# Of the time in a PDF, which would make every archive another one.
_TIME = re.compile(rb"\((D:\d{14}[^)]*)\)")


def bill_of_materials(name: str, version: str) -> bytes | None:
    """Return the installed packages as CycloneDX JSON; None without its library.

    The same packages give the same bytes: it has no time, and its serial number follows from them.
    """
    try:
        from cyclonedx.model.bom import Bom
        from cyclonedx.model.component import Component, ComponentType
        from cyclonedx.output.json import JsonV1Dot5
        from packageurl import PackageURL
    except ImportError:
        return None
    found = {each.name.lower(): each for each in distributions() if each.name}
    components = []
    for _, each in sorted(found.items()):
        purl = PackageURL("pypi", name=each.name.lower(), version=each.version)
        components.append(
            Component(
                name=each.name,
                version=each.version,
                type=ComponentType.LIBRARY,
                purl=purl,
                # A random one by default.
                bom_ref=purl.to_string(),
                description=_license(each),
            )
        )
    identity = canonical_hash({each.name: each.version for each in components})
    bom = Bom(components=components, serial_number=uuid.UUID(identity[:32]))
    whole = Component(name=name, version=version, type=ComponentType.APPLICATION, bom_ref=name)
    bom.metadata.timestamp = None
    bom.metadata.component = whole
    bom.register_dependency(whole, components)
    return (JsonV1Dot5(bom).output_as_string(indent=2) + "\n").encode()


def _license(package: Distribution) -> str | None:
    """What a package says of its licence, which is free text as often as not."""
    said = package.metadata.get("License-Expression") or package.metadata.get("License") or ""
    line = said.strip().splitlines()[:1]
    return f"License: {line[0][:80]}" if line else None


def printed(page: Path) -> bytes | None:
    """Print a page as PDF with Chromium; None where there is none.

    Raises:
        InputError: Chromium is there and did not do it.
    """
    program = next((found for name in CHROMIUM if (found := shutil.which(name))), None)
    if program is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "page.pdf"
        # Root, as in a container, may not have Chromium's sandbox.
        alone = ["--no-sandbox"] if os.geteuid() == 0 else []
        command = [
            *(program, *SWITCHES, *alone, f"--user-data-dir={folder}/profile"),
            *(f"--print-to-pdf={target}", page.resolve().as_uri()),
        ]
        try:
            done = subprocess.run(command, capture_output=True, timeout=SECONDS, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise InputError(f"'{program}' could not print '{page}' ({error}); {_LEAVE}") from error
        if not target.is_file():
            said = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
            raise InputError(f"'{program}' could not print '{page}' ({said}); {_LEAVE}")
        content = target.read_bytes()
    return _TIME.sub(lambda found: b"(" + _same_length(found[1]) + b")", content)


_LEAVE = "leave the PDF out with --no-pdf"


def _same_length(time: bytes) -> bytes:
    return b"D:19800101000000" + time[16:]


def signature(content: bytes, key: str) -> bytes:
    """Return a detached signature by ``gpg``, armoured.

    Raises:
        InputError: gpg is not installed, or refuses.
    """
    program = shutil.which("gpg")
    if program is None:
        raise InputError("--sign needs gpg, which is not installed; sign MANIFEST.sha256 later")
    command = [program, "--batch", "--armor", "--detach-sign", "--local-user", key]
    done = subprocess.run(command, input=content, capture_output=True, check=False)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no reason"]
        raise InputError(f"gpg did not sign with the key '{key}': {said[0]}")
    return done.stdout
