"""Progress of long steps: a bar on a terminal, a line every half minute elsewhere."""

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

Item = TypeVar("Item")
log = logging.getLogger(__name__)
# Seconds between two lines where there is no terminal: continuous integration shows that it lives.
EVERY = 30.0


def track(
    items: Iterable[Item],
    total: int | None = None,
    description: str = "working",
    console: Console | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Item]:
    """Yield ``items``, consumed lazily, and show how far they are and how much time is left.

    On a terminal that is a bar on standard error. Elsewhere a line goes to the log whenever 30
    seconds have passed, such as ``trials 12/50, about 4 min left``; what takes less says nothing.
    An item counts as done when the next one is asked for, so the time left is that of finished
    work only. Without ``total`` it is the length of ``items``, where they have one.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    console = console or Console(stderr=True)
    if not console.is_terminal:
        yield from _logged(items, total, description, clock)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("time left"),
        TimeRemainingColumn(),
        TextColumn("elapsed"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        yield from progress.track(items, total, description=description)


def _logged(
    items: Iterable[Item], total: int | None, description: str, clock: Callable[[], float]
) -> Iterator[Item]:
    started = said = clock()
    for done, item in enumerate(items):
        now = clock()
        if now - said >= EVERY:
            said = now
            log.info("%s %s", description, _how_far(done, total, now - started))
        yield item


def _how_far(done: int, total: int | None, seconds: float) -> str:
    if total is None:
        return str(done)
    if not done:
        return f"0/{total}"
    minutes = math.ceil((total - done) * seconds / done / 60)
    return f"{done}/{total}, about {minutes} min left"
