"""What holds for the time of a ``with`` statement: hooks on modules, one thread, quiet loggers."""

from __future__ import annotations

import copy
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

Visit = Callable[[str, Tensor], None]
Change = Callable[[Tensor], Tensor]
Item = TypeVar("Item")
Found = TypeVar("Found")


@contextmanager
def during(handles: Iterable[RemovableHandle]) -> Iterator[None]:
    """Keep hooks inside the block."""
    kept = list(handles)
    try:
        yield
    finally:
        for handle in kept:
            handle.remove()


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread inside the block, so that sums come in one order everywhere.

    On cores that are taken, several threads would also wait for each other forty times as long as
    they work on small batches.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def side_by_side(
    work: Callable[[Item], Found], items: Iterable[Item], streams: int | None = None
) -> Iterator[Found]:
    """Yield ``work`` of each item in order, several items at a time, each on one thread of torch.

    Threads within an operator wait for each other at every layer, and on cores that other programs
    use they wait many times as long as they work. The results are those of `one_thread`, however
    many streams there are. A few items are ahead of what was yielded, so memory does not grow.

    Args:
        work: may be called from several threads at a time.
        items: what to work on.
        streams: how many at a time; as many as torch would use threads when left out.
    """
    streams = torch.get_num_threads() if streams is None else streams
    with one_thread():
        if streams <= 1:
            yield from map(work, items)
            return
        left = iter(items)
        # The number of threads is each thread's own.
        with ThreadPoolExecutor(streams, "stream", torch.set_num_threads, (1,)) as threads:
            ahead = deque(threads.submit(work, each) for each in islice(left, 2 * streams))
            try:
                while ahead:
                    yield ahead.popleft().result()
                    ahead.extend(threads.submit(work, each) for each in islice(left, 1))
            finally:
                for each in ahead:
                    each.cancel()


def replica(module: nn.Module) -> nn.Module:
    """Return a copy with the same weights in memory, for a thread of its own.

    A network may keep what it computes in attributes of its own while it runs.
    """
    shared = {id(each): each for each in (*module.parameters(), *module.buffers())}
    return copy.deepcopy(module, shared)


@contextmanager
def quiet(*loggers: str | None, level: int = logging.CRITICAL) -> Iterator[None]:
    """Let loggers, None is the root, say inside the block what has this level only."""
    found = [logging.getLogger(name) for name in loggers]
    levels = [logger.level for logger in found]
    for logger in found:
        logger.setLevel(level)
    try:
        yield
    finally:
        for logger, before in zip(found, levels, strict=True):
            logger.setLevel(before)


def change_input(module: nn.Module, change: Change) -> RemovableHandle:
    """Change the first argument of a module."""
    return module.register_forward_pre_hook(lambda child, args: (change(args[0]), *args[1:]))


def change_output(module: nn.Module, change: Change) -> RemovableHandle:
    """Change what a module returns."""
    return module.register_forward_hook(lambda child, args, output: change(output))


def visit_input(module: nn.Module, name: str, visit: Visit) -> RemovableHandle:
    """Hand over the first argument of a module."""
    return module.register_forward_pre_hook(lambda child, args: visit(name, args[0]))


def visit_outputs(root: nn.Module, names: Iterable[str], images: Tensor, visit: Visit) -> None:
    """Run a model and hand over what some of its modules return.

    ``visit`` gets each name and output at once, before anything can change the output in place.
    """
    handles = [
        root.get_submodule(name).register_forward_hook(
            lambda child, args, output, name=name: visit(name, output)
        )
        for name in names
    ]
    with during(handles), torch.no_grad():
        root(images)
