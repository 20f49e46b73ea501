"""The Dockerfile's lines, by the rules that a linter of Dockerfiles has; nothing builds it here."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def instructions():
    """Return instruction and arguments of every line, continued lines joined, without comments."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [tuple(line.split(None, 1)) for line in joined.splitlines() if line.strip()]


FOUND = instructions()


def those(name):
    return [arguments for instruction, arguments in FOUND if instruction == name]


def test_only_known_instructions_and_one_base():
    known = {"FROM", "ENV", "RUN", "WORKDIR", "COPY", "USER", "STOPSIGNAL", "CMD"}
    assert {name for name, _ in FOUND} <= known
    (base,) = those("FROM")
    image, _, tag = base.partition(":")
    assert image == "python" and "slim" in tag, "a slim image, by a version (DL3006, DL3007)"


def test_it_ends_as_a_user_without_rights():
    assert those("USER")[-1] not in ("root", "0")
    assert FOUND.index(("USER", those("USER")[-1])) > max(
        index for index, (name, _) in enumerate(FOUND) if name in ("RUN", "COPY")
    )


def test_packages_of_the_system_are_few_and_their_lists_are_removed():
    for run in those("RUN"):
        if "apt-get install" in run:
            for part in (
                "apt-get update",
                "--no-install-recommends",
                "--yes",
                "rm -rf /var/lib/apt",
            ):
                assert part in run, part
        assert "sudo" not in run and "curl" not in run


def test_every_installation_is_constrained_and_nothing_is_cached():
    installing = [run for run in those("RUN") if "pip install" in run]
    assert installing and all("--constraint" in run for run in installing)
    assert any("whl/cpu" in run for run in installing), "torch for the CPU"
    assert any("PIP_NO_CACHE_DIR=1" in line for line in those("ENV"))


@pytest.mark.parametrize("arguments", those("COPY"))
def test_what_is_copied_exists_and_is_not_ignored(arguments):
    ignored = (ROOT / ".dockerignore").read_text().split()
    *sources, target = arguments.split()
    for source in sources:
        assert (ROOT / source).exists() and source not in ignored, source
    assert not Path(target).is_absolute(), "into the working directory (DL3045)"


def test_the_command_is_a_list_and_needs_no_shell():
    (command,) = those("CMD")
    assert json.loads(command)[0] == "kedro", "a shell would not pass SIGTERM on (DL3025)"


def test_what_it_sets_is_what_the_makefile_sets():
    assert {"DO_NOT_TRACK=1", "GX_ANALYTICS_ENABLED=false"} <= set(those("ENV")[0].split())


def test_no_results_and_no_secrets_travel_into_the_image():
    ignored = set((ROOT / ".dockerignore").read_text().split())
    assert {".git", ".venv", "data/08_reporting", "data/07_model_output"} <= ignored
