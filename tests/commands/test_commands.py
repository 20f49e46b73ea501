import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from ptq_pipeline.commands import COMMANDS, ptq
from ptq_pipeline.commands.lazy import LazyGroup
from ptq_pipeline.commands.running import command
from ptq_pipeline.errors import InputError


def made(function):
    return command("made")(function)


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
    assert CliRunner().invoke(made(lambda: 3)).exit_code == 3
    assert CliRunner().invoke(made(lambda: None)).exit_code == 0


def test_ctrl_c_exits_with_130():
    def interrupted():
        raise KeyboardInterrupt

    assert CliRunner().invoke(made(interrupted)).exit_code == 130


def test_the_help_lists_commands_without_importing_them():
    group = LazyGroup(name="g", commands_by_name={"far": ("does.not.exist:far", "Goes far.")})
    result = CliRunner().invoke(group, ["--help"])
    assert "far" in result.output and "Goes far." in result.output


def test_kedro_shows_the_group(project):
    result = subprocess.run(
        [sys.executable, "-m", "kedro", "ptq", "--help"],
        cwd=project,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Audit, promote and watch" in result.stdout
