"""Progress of long steps on a terminal: how many are done and how much time is left."""

from collections.abc import Iterable, Iterator, Sized
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

Item = TypeVar("Item")


def track(
    items: Iterable[Item],
    total: int | None = None,
    description: str = "working",
    console: "Console | None" = None,
) -> Iterator[Item]:
    """Yield ``items`` and show a progress bar on standard error while doing so.

    Nothing is shown when standard error is not a terminal, so logs and CI output stay clean. The
    bar counts an item as done when the next one is asked for, so the time left is that of finished
    work only.

    Args:
        items: What to go through, consumed lazily.
        total: Number of items; taken from ``len(items)`` when left out and possible.
        description: Short text before the bar, for example ``trials``.
        console: Where to draw; standard error when left out.

    Yields:
        The items in their order.
    """
    from rich.console import Console

    console = console or Console(stderr=True)
    if not console.is_terminal:
        yield from items
        return
    if total is None and isinstance(items, Sized):
        total = len(items)

    with _progress_bar(console) as progress:
        task = progress.add_task(description, total=total)
        for item in items:
            yield item
            progress.advance(task)


def _progress_bar(console: "Console") -> "Progress":
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("time left"),
        TimeRemainingColumn(),
        TextColumn("elapsed"),
        TimeElapsedColumn(),
        console=console,
    )
