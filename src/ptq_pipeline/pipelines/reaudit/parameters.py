"""Parameters of ``reaudit``."""

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ptq_pipeline.core.names import CLEAN
from ptq_pipeline.monitoring.windows import SPLITS


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
        if set(self.shares) != set(SPLITS) or min(self.shares.values()) <= 0:
            raise ValueError(f"shares must give each of {list(SPLITS)} something")
        if self.shifts[:1] != (CLEAN,):
            raise ValueError("shifts must begin with 'clean', the window as it is")
        if both := sorted(set(self.audit_windows) & set(self.windows)):
            raise ValueError(f"window '{both[0]}' cannot audit itself")
        return self
