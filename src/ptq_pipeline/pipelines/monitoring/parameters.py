"""Parameters of ``monitoring``."""

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ptq_pipeline.monitoring.trigger import TriggerRules
from ptq_pipeline.monitoring.windows import AcceptanceRules


class AcceptanceParameters(BaseModel):
    """What a window may hold and still be believed; shares of its images."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_unreadable: float = Field(default=0.01, ge=0, lt=1)
    max_duplicates: float = Field(default=0.05, ge=0, lt=1)
    max_flat: float = Field(default=0.01, ge=0, lt=1)

    @property
    def rules(self) -> AcceptanceRules:
        """The same for the library."""
        return AcceptanceRules(**self.model_dump())


class TriggerParameters(BaseModel):
    """When drift becomes an event; see `ptq_pipeline.monitoring.trigger.TriggerRules`."""

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

    @property
    def rules(self) -> TriggerRules:
        """The same for the library."""
        return TriggerRules(**self.model_dump())


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

    acceptance: AcceptanceParameters = AcceptanceParameters()
    served_threshold: float = Field(default=0.1, gt=0)
    clip_threshold: float = Field(default=0.5, gt=0)
    trigger: TriggerParameters = TriggerParameters()
