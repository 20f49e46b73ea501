"""Production windows: what arrives, and whether it can be believed."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import wraps
from hashlib import sha256
from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.names import MISSING
from ptq_pipeline.images.samples import encode_labels
from ptq_pipeline.images.source import ImageSource, content_hashes, decode_source
from ptq_pipeline.profiling.segments import metadata_groups

SPLIT_PREFIX = "production_"
SPLITS = ("pool", "reference", "selection", "audit")
# How many of the latest windows say which names are behind.
RECENT = 9


class UnusableWindow(InputError):
    """A window that was accepted cannot be used any more.

    Args:
        window: its name.
        reason: the rest of the sentence.
    """

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


class AcceptanceRules(BaseModel):
    """When a window can be believed.

    Attributes:
        max_unreadable: share of its images that may be unreadable.
        max_duplicates: share of its images that may repeat others of it, or of the audit.
        max_flat: share of its images that may hold one value only, as a dead sensor gives.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_unreadable: float = Field(default=0.01, ge=0, lt=1)
    max_duplicates: float = Field(default=0.05, ge=0, lt=1)
    max_flat: float = Field(default=0.01, ge=0, lt=1)


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
    """What was decided about one arrival.

    Attributes:
        status: accepted, empty, repeated or rejected.
        reason: one sentence; "" for a plain acceptance.
        window: the window when it was accepted.
    """

    status: Status
    reason: str = ""
    window: Window | None = None


def is_late(name: str, log: Sequence[str]) -> bool:
    """Return whether a window was taken before most of the latest ones, by its name.

    The most, and not the last: a single window whose name lies in the far future would otherwise
    make every later one late.

    Args:
        name: its name.
        log: names of the windows accepted before it, oldest first.
    """
    recent = log[-RECENT:]
    return sum(name < each for each in recent) > len(recent) / 2


def as_audited(
    table: pd.DataFrame, classes: Sequence[str], definitions: Mapping[str, Any]
) -> pd.DataFrame:
    """Return a window's table in the terms of the audit.

    Args:
        table: ``name``, ``label`` and the segment columns of a source.
        classes: class names of the model.
        definitions: content of ``group_definitions``.

    Returns:
        Labels as class indices, missing when any of them is; metadata as the groups of the audit.

    Raises:
        InputError: a label or a segment's value is unknown, or such a column is missing.
    """
    table = table.copy()
    for column, entry in definitions["segments"].items():
        if "thresholds" in entry:
            continue
        if column not in table:
            raise InputError(f"its table has no segment column '{column}', which the audit has")
        table[column] = metadata_groups(table[column], entry)
        if unknown := sorted(set(table[column]) - {*entry["names"], MISSING}):
            raise InputError(
                f"segment '{column}' holds '{unknown[0]}'; the audit knows {entry['names']}"
            )
    if table["label"].notna().all():
        return table.assign(label=encode_labels(table, tuple(classes)))
    return table.assign(label=pd.Series(pd.NA, table.index, dtype="Int64"))


def _setting_aside(check: Callable[..., Acceptance]) -> Callable[..., Acceptance]:
    """Let whatever the reading of a window raises reject that window, and nothing else."""

    @wraps(check)
    def accept(arrival: Arrival, *arguments: Any) -> Acceptance:
        try:
            with arrival.guard():
                return check(arrival, *arguments)
        except (InputError, OSError) as error:
            reason = str(error)
        except Exception as error:  # noqa: BLE001 - files of others can raise anything in a decoder
            reason = f"its files cannot be read ({type(error).__name__}: {error})"
        return Acceptance(Status.REJECTED, f"window '{arrival.name}': {reason}")

    return accept


@_setting_aside
def accept(
    arrival: Arrival,
    shape: tuple[int, int, int],
    translate: Callable[[pd.DataFrame], pd.DataFrame],
    audited: Collection[str],
    earlier: Mapping[str, str],
    rules: AcceptanceRules,
) -> Acceptance:
    """Check a window's schema, images, labels, duplicates and ranges.

    Whatever its files make of the reading of it, the window is set aside and nothing is raised: the
    windows behind it must not wait for its repair.

    Args:
        arrival: the window.
        shape: ``(C, H, W)`` of the audited images.
        translate: see `as_audited`.
        audited: content hashes of the audit's images.
        earlier: names of accepted windows by the hash of their content.
        rules: what is tolerated.
    """
    nothing = Acceptance(Status.EMPTY, f"window '{arrival.name}' holds no image")
    if arrival.empty:
        return nothing
    source = arrival.open()
    if not len(source.table):
        return nothing
    _check_shape(source, shape)
    table = translate(source.table)
    tolerated = int(rules.max_unreadable * len(table))
    decoded = decode_source(source, tolerated, "monitoring.acceptance.max_unreadable")
    table = table[table["name"].isin(decoded.table["name"])].reset_index(drop=True)
    hashes = content_hashes(decoded.images)
    content = sha256("".join(sorted(hashes)).encode()).hexdigest()
    if content in earlier:
        return Acceptance(
            Status.REPEATED,
            f"window '{arrival.name}' holds the same images as '{earlier[content]}'",
        )
    table["content_hash"] = hashes
    decided = _accept_content(arrival, decoded.images, table, content, audited, rules)
    labels = int(source.table["label"].notna().sum())
    if decided.window is None or labels in (0, len(source.table)):
        return decided
    partly = f"{labels} of {len(source.table)} labels are there, so it counts as unlabelled"
    return replace(decided, reason="; ".join(filter(None, (decided.reason, partly))))


def _accept_content(
    arrival: Arrival,
    images: np.ndarray,
    table: pd.DataFrame,
    content: str,
    audited: Collection[str],
    rules: AcceptanceRules,
) -> Acceptance:
    flat = images.reshape(len(images), -1)
    dead = flat.min(1) == flat.max(1)
    copies = table["content_hash"].duplicated().to_numpy()
    known = table["content_hash"].isin(set(audited)).to_numpy()
    for wrong, limit, what in (
        (dead, rules.max_flat, "hold one value only"),
        (copies | known, rules.max_duplicates, "repeat others of it or of the audit"),
    ):
        if wrong.mean() > limit:
            return Acceptance(
                Status.REJECTED,
                f"window '{arrival.name}': {int(wrong.sum())} of {len(wrong)} images {what}, more "
                f"than {limit:.1%}",
            )
    kept = ~(dead | copies | known)
    reason = f"{int((~kept).sum())} images left out" if not kept.all() else ""
    table = table[kept].reset_index(drop=True)
    return Acceptance(
        Status.ACCEPTED, reason, Window(arrival.name, np.asarray(images[kept]), table, content)
    )


def _check_shape(source: ImageSource, shape: tuple[int, int, int]) -> None:
    if tuple(source.shape) != tuple(shape):
        raise InputError(
            f"its images are {tuple(source.shape)} and the audit's are {tuple(shape)} "
            "(channels, height, width); deliver the same format"
        )


def split_window(window: Window, shares: Mapping[str, float], seed: int) -> pd.Series:
    """Return ``production_<split>`` for every image, by content hash and cluster.

    The order depends on the seed and the pixels only, so an image is in the same split whenever
    and with whatever else it arrives. Of a cluster, one image at most stands in selection and one
    in audit, because the tests need independent images; the rest gets no split (missing).

    Args:
        window: the window.
        shares: share of each split.
        seed: seed of the division.
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

    Args:
        windows: the drifted windows.
        audit: later windows that are audited as a whole, so that the windows that fired the event
            for being extreme play no part in the judgement; without any, these are divided by
            ``shares``.
        shares: share of each split.
        seed: seed of the division.

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
