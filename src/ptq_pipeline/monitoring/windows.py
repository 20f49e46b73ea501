"""Production windows: what arrives, what becomes of it, and how an event's windows are divided."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256

import numpy as np
import pandas as pd

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.images.source import ImageSource

SPLIT_PREFIX = "production_"
# How many of the latest windows say which names are behind.
RECENT = 9


class UnusableWindow(InputError):
    """A window that was accepted cannot be used any more, for a reason that ends the sentence."""

    def __init__(self, window: str, reason: str) -> None:
        super().__init__(f"window '{window}' {reason}")
        self.window = window


class Status(StrEnum):
    """What became of a window on its arrival."""

    ACCEPTED = "accepted"
    EMPTY = "empty"
    REPEATED = "repeated"
    REJECTED = "rejected"


@dataclass(frozen=True)
class Arrival:
    """A window that has not been decided about yet.

    Attributes:
        name: name of its folder.
        digest: hash of its files.
        open: reads it; raises InputError when its files are of no known schema.
        empty: whether its folder holds nothing.
        guard: is entered while the window is read; raises InputError when that has ended processes.
    """

    name: str
    digest: str
    open: Callable[[], ImageSource]
    empty: bool = False
    guard: Callable[[], AbstractContextManager[None]] = nullcontext


@dataclass(frozen=True, eq=False)
class Window:
    """An accepted window.

    Attributes:
        name: its name.
        images: uint8 ``(N, C, H, W)``, each content once, none of the audit's.
        table: row by row ``content_hash``, ``label`` (class index; missing without labels) and
            what else its source says of an image, such as ``cluster``.
        content: hash of its pixels in any order.
    """

    name: str
    images: np.ndarray
    table: pd.DataFrame
    content: str

    @property
    def labelled(self) -> bool:
        """Whether every image has a label."""
        return bool(self.table["label"].notna().all())


@dataclass(frozen=True)
class Acceptance:
    """What was decided about one arrival, with the window when it was accepted.

    The reason is one sentence; "" for a plain acceptance.
    """

    status: Status
    reason: str = ""
    window: Window | None = None


def is_late(name: str, log: Sequence[str]) -> bool:
    """Return whether a window sorts before most of the latest of ``log``, the names before it.

    Most, and not the last: a single window whose name lies in the far future would otherwise make
    every later one late.
    """
    recent = log[-RECENT:]
    return sum(name < each for each in recent) > len(recent) / 2


def split_window(window: Window, shares: Mapping[str, float], seed: int) -> pd.Series:
    """Return ``production_<split>`` for every image, by content hash and cluster.

    The order depends on the seed and the pixels only, so an image is in the same split whenever
    and with whatever else it arrives. Of a cluster, one image at most is in selection and one
    in audit, because the tests need independent images; the rest gets no split (missing).
    """
    units = window.table["content_hash"]
    if "cluster" in window.table:
        cluster = window.table["cluster"]
        units = cluster.where(cluster.notna(), units).astype(str)
    names = list(shares)
    edges = np.cumsum([shares[name] for name in names]) / sum(shares.values())
    places = [_place(f"{seed}:{unit}") for unit in units]
    chosen = np.minimum(np.searchsorted(edges, places, side="right"), len(names) - 1)
    splits = pd.Series([SPLIT_PREFIX + names[i] for i in chosen], window.table.index, dtype=object)
    judged = splits.isin([SPLIT_PREFIX + "selection", SPLIT_PREFIX + "audit"])
    return splits.mask(judged & units.duplicated(), None)


def _torn(table: pd.DataFrame) -> pd.Series:
    """Images of a burst that goes on in another window, in another split or judged already."""
    known = table["cluster"].notna() & table["split"].notna()
    rows = table[known]
    elsewhere = rows["split"] != rows.groupby("cluster")["split"].transform("first")
    judged = rows["split"].isin([SPLIT_PREFIX + "selection", SPLIT_PREFIX + "audit"])
    return (elsewhere | (judged & rows["cluster"].duplicated())).reindex(
        table.index, fill_value=False
    )


def _place(text: str) -> float:
    return int.from_bytes(sha256(text.encode()).digest()[:8], "big") / 2**64


def divide_windows(
    windows: list[Window], audit: list[Window], shares: Mapping[str, float], seed: int
) -> tuple[pd.DataFrame, np.ndarray]:
    """Bring the windows of an event together and divide them.

    Later windows are audited as a whole, so that the windows that fired the event for being extreme
    play no part in the judgement; without any, these are divided by ``shares``.

    Returns:
        The tables with columns ``window`` and ``split``, every content once, and their images.
    """
    used = {name: share for name, share in shares.items() if not (audit and name == "audit")}
    tables, images = [], []
    for position, window in enumerate(audit + windows):
        later = position < len(audit)
        splits = split_window(window, {"audit": 1.0} if later else used, seed)
        tables.append(window.table.assign(window=window.name, split=splits))
        images.append(window.images)
    table = pd.concat(tables, ignore_index=True)
    kept = table["split"].notna() & ~table["content_hash"].duplicated()
    if "cluster" in table:
        kept &= ~_torn(table)
    kept = kept.to_numpy()
    return table[kept].reset_index(drop=True), np.concatenate(images)[kept]
