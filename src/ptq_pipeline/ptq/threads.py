"""Torch with one thread, for results that do not depend on how many a process uses elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread inside the block, and what it used before afterwards.

    Sums come in the same order in every process. On cores that are taken, torch's threads would
    also wait for each other forty times as long as they work on small batches.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
