"""What became of every production window: the log ``windows.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from ptq_pipeline.core.documents import Document
from ptq_pipeline.monitoring.windows import Status


class Distance(Document):
    """How far one column of a window is from the reference, and from where on that counts."""

    distance: float
    threshold: float


class Measured(Document):
    """What a window was found to be beside the reference.

    Attributes:
        drifted: whether it is unlike the reference.
        champion: version that served; None when nothing did.
        drifted_columns: columns beyond their thresholds, furthest first.
        columns: every column that was compared.
        clip_rates: mean clip rate of every quantized place.
    """

    drifted: bool = False
    champion: str | None = None
    drifted_columns: tuple[str, ...] = ()
    columns: dict[str, Distance] = {}
    clip_rates: dict[str, float] = {}


class WindowRecord(Measured):
    """One arrival.

    Attributes:
        sequence: its place in the log, from 1.
        window: its name.
        status: what was decided.
        reason: one sentence; empty for a plain acceptance.
        late: whether it came after most of the latest windows, by its name.
        digest: hash of its files.
        content: hash of its pixels in any order; None unless accepted.
        n: its accepted images.
        labelled: whether all of them have labels.
    """

    sequence: int = 0
    window: str
    status: Status
    reason: str = ""
    late: bool = False
    digest: str = ""
    content: str | None = None
    n: int = 0
    labelled: bool = False

    def measured(self, found: Measured | str | None) -> WindowRecord:
        """Return it with what was found, or set aside for the reason why nothing could be."""
        if isinstance(found, str):
            return self.model_copy(update={"status": Status.REJECTED, "reason": found})
        return self if found is None else self.model_copy(update=dict(found))


class WindowHistory(Document):
    """All arrivals, oldest first."""

    called: ClassVar[str] = "the log of production windows"
    way_out: ClassVar[str] = (
        "restore 'windows.json' from a backup, or delete it to start again: the champion keeps "
        "serving"
    )

    schema_version: Literal[1] = 1
    windows: tuple[WindowRecord, ...] = ()

    @property
    def accepted(self) -> dict[str, WindowRecord]:
        """The accepted windows by name, oldest first."""
        return {each.window: each for each in self.windows if each.status is Status.ACCEPTED}

    @property
    def set_aside(self) -> list[str]:
        """Names of windows that were rejected, and of which nothing has been accepted since."""
        latest = {each.window: each.status for each in self.windows}
        return [name for name, status in latest.items() if status is Status.REJECTED]

    @property
    def telling(self) -> list[WindowRecord]:
        """What the trigger looks at; a late window says nothing about now."""
        return [each for each in self.windows if each.status is Status.ACCEPTED and not each.late]

    def extended(
        self, records: Sequence[WindowRecord], measured: Mapping[str, Measured | str]
    ) -> WindowHistory:
        """Return it with new arrivals at its end, and what was measured."""
        last = len(self.windows)
        added = [
            record.measured(measured.get(record.window)).model_copy(update={"sequence": last + i})
            for i, record in enumerate(records, 1)
        ]
        return self.model_copy(update={"windows": (*self.windows, *added)})
