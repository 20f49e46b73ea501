"""The parameter groups ``drift``, ``monitoring`` and ``reaudit``."""

from collections.abc import Iterable
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ptq_pipeline.core.names import CLEAN
from ptq_pipeline.core.overlays import WITHOUT_NULL
from ptq_pipeline.images.samples import REQUIRED_SPLITS
from ptq_pipeline.profiling.features import COMPONENTS, IMAGE_FEATURES

# Of a column that no configuration names: a tenth of a standard deviation, or of the logarithm's
# unit for categories.
MATERIAL = 0.1


class DriftColumn(BaseModel):
    """How one profile column is compared with the reference.

    Attributes:
        method: ``wasserstein`` for numbers, ``jensenshannon`` for categories.
        threshold: material threshold, in units of the method.
        optional: skip the column where the current table does not have it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Literal["wasserstein", "jensenshannon"]
    threshold: float = Field(gt=0, allow_inf_nan=False)
    optional: bool = False


class DriftParameters(BaseModel):
    """What is compared, and how often an unchanged population may alarm.

    Attributes:
        alpha: chance that a sample of the reference's own population exceeds the sampling threshold
            of any column.
        resamples: resamples that estimate it.
        windows: names of frozen production windows.
        columns: by name, in the order of the table; when left out, every column of the profiles
            and every segment, see `following`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = Field(ge=0)
    alpha: float = Field(gt=0, lt=1)
    resamples: int = Field(ge=100)
    windows: tuple[str, ...]
    columns: Annotated[dict[str, DriftColumn], WITHOUT_NULL] = {}

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if len(set(self.windows)) != len(self.windows):
            raise ValueError(f"windows must differ, got {list(self.windows)}")
        if self.alpha * self.resamples < 10:
            raise ValueError(
                f"{self.resamples} resamples are too few for alpha {self.alpha}; "
                f"give at least {round(10 / self.alpha)}"
            )
        return self

    def following(self, segments: Iterable[str]) -> Self:
        """Return the parameters with all columns of an audit that has these segment columns.

        Columns of the configuration are left as they are.
        """
        if self.columns:
            return self
        categories, numbers = ("label", "predicted", *segments), ("confidence", "margin")
        components = [f"component_{number}" for number in range(1, COMPONENTS + 1)]
        kinds = dict.fromkeys(categories, "jensenshannon")
        kinds |= dict.fromkeys((*IMAGE_FEATURES, *numbers, *components), "wasserstein")
        columns = {
            name: DriftColumn.model_validate(
                {"method": method, "threshold": MATERIAL, "optional": name == "label"}
            )
            for name, method in kinds.items()
        }
        return self.model_copy(update={"columns": columns})


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


class TriggerRules(BaseModel):
    """When an event fires.

    Attributes:
        windows: how many of the latest windows are looked at (n).
        drifted: how many of them must have drifted (k); the latest must be one of them.
        minimum_samples: smaller windows are recorded and count for nothing.
        rearm_after: calm windows in a row after which the next drift is a new event.
        cooldown_hours: hours after an event in which no other fires.
        later_window: whether to wait for a window after the event, for its audit.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    windows: int = Field(default=3, ge=1)
    drifted: int = Field(default=2, ge=1)
    minimum_samples: int = Field(default=500, ge=1)
    rearm_after: int = Field(default=2, ge=1)
    cooldown_hours: float = Field(default=24.0, ge=0)
    later_window: bool = False

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.drifted > self.windows:
            raise ValueError(f"{self.drifted} of {self.windows} windows can never have drifted")
        return self


class MonitoringParameters(BaseModel):
    """How production windows are looked at, beside the columns of ``drift``.

    Attributes:
        acceptance: when a window is believed.
        served_threshold: material Jensen-Shannon distance of the served model's answers.
        clip_threshold: material rise of a clip rate, in standard deviations of the reference's
            images, of which 0.001 is the least that counts.
        trigger: when drift becomes an event.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    acceptance: AcceptanceRules = AcceptanceRules()
    served_threshold: float = Field(default=0.1, gt=0)
    clip_threshold: float = Field(default=0.5, gt=0)
    trigger: TriggerRules = TriggerRules()


class ReauditParameters(BaseModel):
    """Which windows are audited, and how they are divided.

    Attributes:
        event: id of the drift event; `kedro ptq watch` gives it, with the next two.
        windows: the event's windows.
        audit_windows: later windows that are audited as a whole.
        seed: seed of the division by content hash.
        shares: share of each split; without a later window ``audit`` takes its share as well.
        shifts: shifts of `stress` under which the champion is audited on production images, which
            are shifted already.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    event: str = Field(default="by_hand", pattern=r"^[A-Za-z0-9_.-]+$")
    windows: tuple[str, ...] = ()
    audit_windows: tuple[str, ...] = ()
    seed: int = Field(default=0, ge=0)
    shares: dict[str, float]
    shifts: tuple[str, ...] = (CLEAN,)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if set(self.shares) != set(REQUIRED_SPLITS) or min(self.shares.values()) <= 0:
            raise ValueError(f"shares must give each of {list(REQUIRED_SPLITS)} something")
        if self.shifts[:1] != (CLEAN,):
            raise ValueError("shifts must begin with 'clean', the window as it is")
        if both := sorted(set(self.audit_windows) & set(self.windows)):
            raise ValueError(f"window '{both[0]}' cannot audit itself")
        return self
