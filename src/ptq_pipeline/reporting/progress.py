"""Progress of long steps on a terminal: how many are done and how much time is left."""

from collections.abc import Iterable, Iterator
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


def track(
    items: Iterable[Item],
    total: int | None = None,
    description: str = "working",
    console: Console | None = None,
) -> Iterator[Item]:
    """Yield ``items``, consumed lazily, and show a progress bar on standard error.

    Nothing is shown when standard error is not a terminal, so logs and CI output stay clean. The
    bar counts an item as done when the next one is asked for, so the time left is that of finished
    work only. Without ``total`` it is the length of ``items``, where they have one.
    """
    console = console or Console(stderr=True)
    if not console.is_terminal:
        yield from items
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
