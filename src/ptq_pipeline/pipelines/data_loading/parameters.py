"""Parameters of ``data_loading``."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from ptq_pipeline.core.overlays import WITHOUT_NULL
from ptq_pipeline.profiling.segments import Quantiles, SegmentRule


class MetadataParameters(BaseModel):
    """How a metadata column of the image source becomes groups.

    Attributes:
        quantiles: where numbers and times are cut, on the pool.
        most_values: numbers and times with no more different values stay as they are.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    quantiles: Quantiles = (1 / 3, 2 / 3)
    most_values: int = Field(default=8, ge=2)


class DataLoadingParameters(BaseModel):
    """How images become samples."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = Field(ge=0)
    max_unreadable: int = Field(default=0, ge=0)
    expected_accuracy: float | None = Field(default=None, gt=0, le=1)
    metadata: MetadataParameters = MetadataParameters()
    segments: Annotated[dict[str, SegmentRule], WITHOUT_NULL] = {}
    controls: tuple[str, ...] = ()
