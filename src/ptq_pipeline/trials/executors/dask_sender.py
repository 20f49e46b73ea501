"""Files of a study on their way to Dask workers that have them nowhere."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from concurrent.futures import Future as Sending
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING
from uuid import uuid4

from ptq_pipeline.trials.description import DescribedWorkload, NamedFile
from ptq_pipeline.trials.executors.dask_worker import keep_on_worker

if TYPE_CHECKING:
    from distributed import Client, Future

log = logging.getLogger(__name__)

# Dask holds a part in memory here, on the scheduler and on the worker.
_PART_BYTES = 1 << 22
_POLL_SECONDS = 1.0
_GONE = "it went away while it was sent the data"


class Sender:
    """Sends files through the scheduler, to one worker after the other.

    Workers of one host share a cache, so the second of them is asked again and finds what the first
    was sent.
    """

    def __init__(self, client: Client, described: DescribedWorkload) -> None:
        self.client = client
        self.files = {each.sha256: each for each in described.files()}
        self.root = Path.cwd()
        self.busy: dict[str, Sending[str]] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="send")
        self._stopped = Event()

    def send(self, address: str, wanted: Sequence[str]) -> None:
        """Begin to send the files with these hashes to a worker."""
        others = bool(self.busy)
        # Behind another worker it is only asked again: they may be of one host.
        self.busy[address] = self._thread.submit(self._send, address, () if others else wanted)

    def done(self) -> Iterator[tuple[str, str]]:
        """Yield each worker that was sent everything, or why it was not."""
        for address, sending in list(self.busy.items()):
            if sending.done():
                del self.busy[address]
                yield address, sending.result()

    def stop(self) -> None:
        """End what is on its way."""
        self._stopped.set()
        self._thread.shutdown(cancel_futures=True)

    def _send(self, address: str, wanted: Sequence[str]) -> str:
        for sha256 in wanted:
            try:
                problem = self._send_file(address, self.files[sha256])
            except OSError as error:
                problem = f"what it needs cannot be read here: {error}"
            if problem:
                return problem
        if wanted:
            size = sum(self.files[each].size for each in wanted)
            log.info("dask worker %s: sent %d files, %.1f MB", address, len(wanted), size / 1e6)
        return ""

    def _send_file(self, address: str, named: NamedFile) -> str:
        sending = uuid4().hex
        with (self.root / named.file).open("rb") as stream:
            offset = 0
            while part := stream.read(_PART_BYTES):
                future = self.client.submit(
                    keep_on_worker, named.to_json(), sending, offset, part,
                    workers=[address], pure=False,
                )  # fmt: skip
                problem = self._answer(address, future)
                if problem:
                    return problem
                offset += len(part)
        return ""

    def _answer(self, address: str, future: Future) -> str:
        while True:
            try:
                return future.result(timeout=_POLL_SECONDS)
            except TimeoutError:
                known = self.client.scheduler_info(n_workers=-1)["workers"]
                if self._stopped.is_set() or address not in known:
                    return _GONE
            except CancelledError:
                return _GONE
            except Exception as error:  # noqa: BLE001 - whatever Dask says of the worker
                return f"it could not be sent the data ({type(error).__name__}: {error})"
