import json
import os
import re
import resource
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from ptq_pipeline.commands import COMMANDS, SECTIONS, LazyGroup, commands, ptq
from ptq_pipeline.commands.command import Answer, command
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.exits import ExitCode


def made(function):
    return command()(function)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_exists_and_has_a_help_text(name):
    found = ptq.get_command(click.Context(ptq), name)
    assert isinstance(found, click.Command)
    assert found.help


def test_an_error_is_one_paragraph_without_traceback():
    def fail():
        raise InputError("file 'x' is missing; write it")

    result = CliRunner().invoke(made(fail))
    assert result.exit_code == 1
    assert result.stderr == "error: file 'x' is missing; write it\n"
    assert "Traceback" in CliRunner().invoke(made(fail), ["--verbose"]).stderr


def test_the_returned_code_is_the_exit_code():
    assert CliRunner().invoke(made(lambda: Answer(None, code=3))).exit_code == 3
    assert CliRunner().invoke(made(lambda: None)).exit_code == 0


def test_ctrl_c_exits_with_130():
    def interrupted():
        raise KeyboardInterrupt

    assert CliRunner().invoke(made(interrupted)).exit_code == 130


def test_the_help_lists_commands_without_importing_them():
    group = LazyGroup(name="g", places={"far": ("does_not_exist", "Goes far.")})
    result = CliRunner().invoke(group, ["--help"])
    assert "far" in result.output and "Goes far." in result.output


def test_the_help_groups_every_command_by_what_it_is_for():
    named = [name for names in SECTIONS.values() for name in names]
    assert len(named) == len(set(named)) and set(named) <= set(COMMANDS)
    shown = CliRunner().invoke(ptq, ["--help"]).output
    places = [shown.index(f"{title}:") for title in SECTIONS]
    assert places == sorted(places)


def test_a_misspelt_command_is_answered_with_the_nearest():
    result = CliRunner().invoke(ptq, ["statsu"])
    assert result.exit_code == 2
    assert "No such command 'statsu'; did you mean 'status'?" in result.output


def test_kedro_shows_the_group(project):
    result = subprocess.run(
        [sys.executable, "-m", "kedro", "ptq", "--help"],
        cwd=project,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Audit, promote and watch" in result.stdout


def all_commands(group=ptq, path=()):
    for name in group.list_commands(click.Context(group)):
        found = group.get_command(click.Context(group), name)
        yield (*path, name), found
        if isinstance(found, click.Group):
            yield from all_commands(found, (*path, name))


@pytest.mark.parametrize(("path", "found"), all_commands(), ids=lambda value: str(value)[:40])
def test_every_help_text_has_an_example_of_its_own_command(path, found):
    result = CliRunner().invoke(found, ["--help"])
    assert result.exit_code == 0
    assert f"kedro ptq {' '.join(path)}" in " ".join(result.output.split())


# Those that need no project, the one that names a mount, and the list of methods.
WITHOUT_MOUNT = {
    *("judge", "audit", "open", "detections", "compare", "answers"),
    *("init", "methods"),
}


@pytest.mark.parametrize(
    ("path", "found"),
    [each for each in all_commands() if not isinstance(each[1], click.Group)],
    ids=lambda value: str(value)[:40],
)
def test_every_command_speaks_json_and_every_one_on_a_project_knows_mounts(path, found):
    options = {name for parameter in found.params for name in parameter.opts}
    assert {"--json", "--verbose"} <= options
    assert ("--mount" in options) == (path[0] not in WITHOUT_MOUNT)


def test_an_unexpected_error_is_one_line_without_traceback():
    def fail():
        raise ValueError("first line\nsecond line " + 1000 * "x")

    result = CliRunner().invoke(made(fail))
    assert result.exit_code == 1
    assert result.stderr.startswith("error: unexpected ValueError: first line second line xxx")
    assert result.stderr.endswith("; --verbose shows where\n")
    assert result.stderr.count("\n") == 1 and len(result.stderr) < 600
    assert "Traceback" in CliRunner().invoke(made(fail), ["--verbose"]).stderr


def test_a_reader_that_goes_away_is_no_error(project):
    piped = f"{sys.executable} -m kedro ptq methods | true"
    ended = subprocess.run(
        piped, shell=True, cwd=project, capture_output=True, text=True, check=False
    )
    assert ended.stderr == ""


def test_exit_codes_are_those_of_the_documentation(project):
    page = (project / "docs/command_line.md").read_text()
    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.M)}
    assert documented == {int(code) for code in ExitCode}
    help_text = CliRunner().invoke(ptq, ["--help"]).output
    assert all(re.search(rf"\b{int(code)} [a-z]", help_text) for code in ExitCode)


TALKATIVE = """
import ctypes, logging, os, sys
from ptq_pipeline.commands.command import Answer, command

@command()
def talk():
    print("printed")
    logging.StreamHandler(sys.stdout).emit(logging.makeLogRecord({"msg": "logged"}))
    ctypes.CDLL(None).printf(b"held by the C library until the process ends\\n")
    os.write(1, b"written\\n")
    os.system("echo by another process")
    return Answer({"draws": 3, "name": "画像"})

talk()
"""


def test_what_libraries_print_is_not_among_the_json():
    result = subprocess.run(
        [sys.executable, "-c", TALKATIVE, "--json"], capture_output=True, text=True, check=True
    )
    assert json.loads(result.stdout) == {"draws": 3, "name": "画像"}
    for text in ("printed", "logged", "C library", "written", "by another process"):
        assert text in result.stderr
    without = subprocess.run(
        [sys.executable, "-c", TALKATIVE], capture_output=True, text=True, check=True
    )
    assert "printed" in without.stdout, "people read everything in one place"


def kedro(project, *arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "kedro", *arguments], cwd=project, env=os.environ | environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("kedro ptq ca", {"calibration", "card"}),
        ("kedro ptq calibration s", {"show"}),
        ("kedro ptq gate --j", {"--json"}),
        ("kedro ptq gate --env q", {"quick"}),
    ],
)
def test_the_shell_completes_names_options_and_environments(project, monkeypatch, words, expected):
    monkeypatch.chdir(project)
    *given, incomplete = words.split()[1:]
    shell = ShellComplete(commands, {}, "kedro", "_KEDRO_COMPLETE")
    assert {found.value for found in shell.get_completions(given, incomplete)} == expected


def test_kedro_completes_as_the_shell_asks(project):
    asked = {"_KEDRO_COMPLETE": "bash_complete", "COMP_WORDS": "kedro ptq ca", "COMP_CWORD": "2"}
    result = subprocess.run(
        ["kedro"], cwd=project, capture_output=True, text=True, check=True,
        executable=str(Path(sys.executable).parent / "kedro"), env=os.environ | asked,
    )  # fmt: skip
    assert result.stdout.split() == ["plain,calibration", "plain,card"]


def test_completion_imports_no_command():
    group = LazyGroup(name="g", places={"far": ("does_not_exist", "Goes far.")})
    items = group.shell_complete(click.Context(group), "f")
    assert [(item.value, item.help) for item in items] == [("far", "Goes far.")]


@pytest.mark.parametrize(
    "arguments",
    [("methods",), ("doctor",), ("status",), ("init", "shop")],
    ids=lambda arguments: arguments[0],
)
def test_a_real_command_prints_json_alone_also_with_verbose(small, arguments):
    result = kedro(small, "ptq", *arguments, "--json", "--verbose")
    assert json.loads(result.stdout), result.stderr


HEAVY = {"torch", "openvino", "great_expectations", "evidently", "pandas", "matplotlib", "scipy"}


def test_the_help_costs_less_than_a_second_more_than_kedros(project):
    def seconds(*arguments):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert kedro(project, *arguments).returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    # Time of the processor, in turn, so that what else runs here matters little.
    own, kedros = zip(
        *[(seconds("ptq", "--help"), seconds("--help")) for _ in range(2)], strict=True
    )
    assert min(own) - min(kedros) < 1
    script = "import sys; sys.argv = ['kedro', 'ptq', '--help']\nimport kedro.framework.cli as c\n"
    script += (
        "try:\n    c.main()\nexcept SystemExit:\n    pass\nprint(*sys.modules, file=sys.stderr)"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=project, capture_output=True, text=True, check=True
    )
    assert not HEAVY & set(result.stderr.split())


def test_what_serves_is_said_without_the_pipelines(small):
    script = "import sys; sys.argv = ['kedro', 'ptq', 'status']\nimport kedro.framework.cli as c\n"
    script += (
        "try:\n    c.main()\nexcept SystemExit:\n    pass\nprint(*sys.modules, file=sys.stderr)"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=small, capture_output=True, text=True, check=True
    )
    assert result.stdout == "champion: none yet\n"
    imported = set(result.stderr.split())
    assert not {"torch", "openvino", "great_expectations", "evidently", "matplotlib"} & imported
    assert "ptq_pipeline.pipelines.quantization.nodes" not in imported


def test_a_method_whose_package_is_not_installed_hides_no_other(monkeypatch):
    def version(package):
        raise PackageNotFoundError(package)

    monkeypatch.setattr("ptq_pipeline.adapters.version", version)
    result = CliRunner().invoke(ptq, ["methods", "--json"])
    assert result.exit_code == 0, result.stderr
    found = {each["name"]: each for each in json.loads(result.stdout)}
    assert "ptq-pipeline[nncf]" in found["nncf"]["error"]
    assert found["qdrop"]["options"]
