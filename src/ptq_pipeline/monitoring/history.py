"""What became of every production window: the log ``windows.json``."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from ptq_pipeline.core.errors import InputError, first_fault
from ptq_pipeline.monitoring.trigger import Observation
from ptq_pipeline.monitoring.windows import Status


class Distance(BaseModel):
    """How far one column of a window is from the reference, and from where on that counts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    distance: float
    threshold: float


class Measured(BaseModel):
    """What a window was found to be beside the reference.

    Attributes:
        drifted: whether it is unlike the reference.
        champion: version that served; None when nothing did.
        drifted_columns: columns beyond their thresholds, furthest first.
        columns: every column that was compared.
        clip_rates: mean clip rate of every quantized place.
        status: set where it could not be compared, and is set aside for that.
        reason: likewise, one sentence.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    drifted: bool = False
    champion: str | None = None
    drifted_columns: tuple[str, ...] = ()
    columns: dict[str, Distance] = {}
    clip_rates: dict[str, float] = {}
    status: Status | None = None
    reason: str | None = None


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


class WindowHistory(BaseModel):
    """All arrivals, oldest first."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    windows: tuple[WindowRecord, ...] = ()

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> "WindowHistory":
        """Read the content of the file; an empty mapping is the log before the first window.

        Raises:
            InputError: it is damaged or of another schema version.
        """
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise InputError(
                f"the log of production windows is damaged ({first_fault(error)}); restore "
                "'windows.json' from a backup, or delete it to start again: the champion keeps "
                "serving"
            ) from error

    @property
    def accepted(self) -> dict[str, WindowRecord]:
        """The accepted windows by name, oldest first."""
        return {each.window: each for each in self.windows if each.status is Status.ACCEPTED}

    @property
    def set_aside(self) -> list[str]:
        """Names of windows that were rejected, and of which nothing has been accepted since."""
        latest = {each.window: each.status for each in self.windows}
        return [name for name, status in latest.items() if status is Status.REJECTED]

    def observations(self) -> list[Observation]:
        """Return what the trigger looks at; a late window says nothing about now."""
        return [
            Observation(each.window, each.n, each.drifted, each.champion)
            for each in self.windows
            if each.status is Status.ACCEPTED and not each.late
        ]

    def extended(
        self, records: list[WindowRecord], measured: Mapping[str, Measured]
    ) -> "WindowHistory":
        """Return the log with new arrivals at its end, and what was measured of them."""
        added = []
        for record in records:
            found = measured.get(record.window, Measured(drifted=False))
            known = record.model_dump(exclude_unset=True) | found.model_dump(exclude_unset=True)
            known["sequence"] = len(self.windows) + len(added) + 1
            added.append(WindowRecord.model_validate(known))
        return self.model_copy(update={"windows": (*self.windows, *added)})

    def to_json(self) -> dict[str, Any]:
        """Return the content of the file: of each arrival what is known of it."""
        windows = [each.model_dump(mode="json", exclude_unset=True) for each in self.windows]
        return {"schema_version": self.schema_version, "windows": windows}
