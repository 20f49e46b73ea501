"""Ctrl-C while a command imports its modules: one sentence, exit code 130, and no traceback."""

import os
import signal
import subprocess
import sys

import pytest

# Sends this process an interrupt when it begins to import a module.
INTERRUPTING = """
import os, signal, sys

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == os.environ["INTERRUPT_AT"]:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
"""


def start(folder, arguments, at, ignored=False):
    (folder / "sitecustomize.py").write_text(INTERRUPTING)
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    state = signal.SIG_IGN if ignored else signal.SIG_DFL
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        env=os.environ | {"PYTHONPATH": path, "INTERRUPT_AT": at},
        preexec_fn=lambda: signal.signal(signal.SIGINT, state),  # noqa: PLW1509
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "at"),
    [
        (["kedro", "run"], "ptq_pipeline.pipelines.quantization.nodes"),
        (["ptq_pipeline"], "ptq_pipeline.pipelines.quantization.nodes"),
        (["ptq_pipeline"], "kedro.framework.cli.utils"),
        (["kedro", "ptq", "plan"], "ptq_pipeline.commands.plan"),
        (["kedro", "ptq", "methods"], "torch"),
        (["kedro", "ptq", "status"], "ptq_pipeline.commands.status"),
    ],
    ids=" ".join,
)
def test_an_interrupt_during_imports_is_one_sentence(small, arguments, at):
    ended = start(small, arguments, at)
    assert ended.returncode == 130, ended.stderr
    assert ended.stderr.splitlines()[-1].startswith("interrupted")
    assert "Traceback" not in ended.stderr + ended.stdout


def test_an_interrupt_that_is_ignored_is_none(small):
    ended = start(small, ["kedro", "ptq", "methods"], "ptq_pipeline.commands.methods", ignored=True)
    assert ended.returncode == 0, ended.stderr
