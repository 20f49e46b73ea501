"""One run at a time in a folder of results."""

import os
import socket
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from filelock import FileLock, Timeout

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.files import write_file

LOCK, OWNER = ".run.lock", ".run.owner"


class RunLock:
    """Locks folders for this process; the file ``.run.owner`` says who has the lock."""

    def __init__(self) -> None:
        self._locks: list[FileLock] = []

    def take(self, folders: Iterable[Path]) -> None:
        """Lock all folders, or none of them.

        Raises:
            InputError: naming the run that has one of them.
        """
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(folder / LOCK, timeout=0)
            try:
                lock.acquire()
            except Timeout:
                self.release()
                try:
                    first = (folder / OWNER).read_text(encoding="utf-8")
                except OSError:
                    first = "another process"
                raise InputError(
                    f"{first} is running in '{folder}'; wait until it has ended, or use another "
                    "environment (--env)"
                ) from None
            self._locks.append(lock)
            write_file(folder / OWNER, _myself().encode())

    def release(self) -> None:
        """Let go of all folders."""
        for lock in self._locks:
            Path(lock.lock_file).with_name(OWNER).unlink(missing_ok=True)
            lock.release()
        self._locks = []


def _myself() -> str:
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
    started = time.strftime("%Y-%m-%d %H:%M:%S")
    return f"'{command}' (process {os.getpid()} on {socket.gethostname()}, started {started})"
