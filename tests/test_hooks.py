import os
import signal

import click
import pytest

from ptq_pipeline.hooks import InterruptHooks


def test_ctrl_c_under_a_command_ends_with_130_and_one_sentence(capsys):
    hooks = InterruptHooks()
    with click.Context(click.Command("run")):
        hooks.before_pipeline_run()
        with pytest.raises(SystemExit) as ended:
            os.kill(os.getpid(), signal.SIGINT)
            signal.pause()
        hooks.on_pipeline_error()
    assert ended.value.code == 130
    assert "finished trials are kept" in capsys.readouterr().err
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        signal.pause()


def test_ctrl_c_of_a_host_that_runs_a_session_is_left_alone():
    hooks = InterruptHooks()
    before = signal.getsignal(signal.SIGINT)
    hooks.before_pipeline_run()
    assert signal.getsignal(signal.SIGINT) is before
    hooks.after_pipeline_run()
    assert signal.getsignal(signal.SIGINT) is before
