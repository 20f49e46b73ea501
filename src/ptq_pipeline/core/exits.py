"""How a command ends: what its exit code means, and Ctrl-C while modules are imported.

Nothing is done yet then, so the process may end at once. Python would raise `KeyboardInterrupt`
inside the import, which ends in pages of traceback, and of which modules written in C make other
errors.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Any, NoReturn


class ExitCode(IntEnum):
    """Exit codes of every ``kedro ptq`` command; 2 is click's own for wrong usage."""

    DONE = 0
    ERROR = 1
    USAGE = 2
    REFUSED = 3
    INCONCLUSIVE = 4
    VERIFICATION_FAILED = 5
    BUSY = 6
    REQUANTIZATION_ADVISED = 10
    NO_CANDIDATE_PASSED = 11
    WINDOW_SET_ASIDE = 12
    INTERRUPTED = 130
    TERMINATED = 143


def may_be_taken_over() -> bool:
    """Whether Ctrl-C reaches this thread and is not ignored, as under ``nohup ... &``."""
    in_main = threading.current_thread() is threading.main_thread()
    return in_main and signal.getsignal(signal.SIGINT) is not signal.SIG_IGN


@contextmanager
def ending_at_once() -> Iterator[None]:
    """Let Ctrl-C end the process with one sentence inside the block."""
    if not may_be_taken_over():
        yield
        return
    before = signal.signal(signal.SIGINT, end_at_once)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def end_at_once(number: int, frame: Any) -> NoReturn:
    """Handler of the signal: say so and leave, without cleaning up what is half imported."""
    ended = number == signal.SIGTERM
    sys.stderr.write(f"{'ended' if ended else 'interrupted'} before anything was done\n")
    sys.stderr.flush()
    os._exit(ExitCode.TERMINATED if ended else ExitCode.INTERRUPTED)
