"""Parameters of ``settling``."""

from pydantic import BaseModel, ConfigDict, Field


class SettlingParameters(BaseModel):
    """How early looks are paid for.

    Attributes:
        delta: probability, at most, of a PASS or FAIL that the full audit would not give.
        chunk: images per shift between two looks.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    delta: float = Field(default=0.001, gt=0, lt=0.1)
    chunk: int = Field(default=500, ge=1)
