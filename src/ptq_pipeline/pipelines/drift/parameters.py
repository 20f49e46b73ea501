"""Parameters of ``drift``."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ptq_pipeline.monitoring.thresholds import DriftColumn, DriftSettings


class DriftColumnParameters(BaseModel):
    """How one profile column is compared with the reference."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Literal["wasserstein", "jensenshannon"]
    threshold: float = Field(gt=0, allow_inf_nan=False)
    optional: bool = False


class DriftParameters(BaseModel):
    """Columns, windows, and how often an unchanged population may alarm."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = Field(ge=0)
    alpha: float = Field(gt=0, lt=1)
    resamples: int = Field(ge=100)
    windows: tuple[str, ...]
    columns: dict[str, DriftColumnParameters] = Field(min_length=1)

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

    def settings(self) -> DriftSettings:
        """The same for the library."""
        columns = tuple(
            DriftColumn(name, column.method, column.threshold, column.optional)
            for name, column in self.columns.items()
        )
        return DriftSettings(columns, self.alpha, self.resamples, self.seed)
