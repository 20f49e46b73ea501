"""Parameters of ``data_loading``."""

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ptq_pipeline.profiling.features import IMAGE_FEATURES


class SegmentParameters(BaseModel):
    """A segment column cut from an image feature at quantiles of the pool."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    feature: str
    quantiles: tuple[float, ...] = Field(min_length=1)
    names: tuple[str, ...]

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.feature not in IMAGE_FEATURES:
            raise ValueError(f"feature '{self.feature}' is unknown; choose one of {IMAGE_FEATURES}")
        inside = all(0 < quantile < 1 for quantile in self.quantiles)
        if not inside or list(self.quantiles) != sorted(set(self.quantiles)):
            raise ValueError(f"quantiles must increase within (0, 1), got {self.quantiles}")
        if len(set(self.names)) != len(self.quantiles) + 1:
            raise ValueError(
                f"{len(self.quantiles)} quantiles need {len(self.quantiles) + 1} different names"
            )
        return self


class MetadataParameters(BaseModel):
    """How a metadata column of the image source becomes groups.

    Attributes:
        quantiles: where numbers and times are cut, on the pool.
        most_values: numbers and times with no more different values stay as they are.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    quantiles: tuple[float, ...] = Field(default=(1 / 3, 2 / 3), min_length=1)
    most_values: int = Field(default=8, ge=2)

    @model_validator(mode="after")
    def _increase(self) -> Self:
        inside = all(0 < quantile < 1 for quantile in self.quantiles)
        if not inside or list(self.quantiles) != sorted(set(self.quantiles)):
            raise ValueError(f"quantiles must increase within (0, 1), got {self.quantiles}")
        return self


class DataLoadingParameters(BaseModel):
    """How images become samples."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = Field(ge=0)
    max_unreadable: int = Field(default=0, ge=0)
    expected_accuracy: float | None = Field(default=None, gt=0, le=1)
    metadata: MetadataParameters = MetadataParameters()
    segments: dict[str, SegmentParameters] = {}
    controls: tuple[str, ...] = ()
