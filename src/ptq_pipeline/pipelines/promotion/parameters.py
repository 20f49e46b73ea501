"""Parameters of ``promotion``."""

from pydantic import BaseModel, ConfigDict, Field


class PromotionParameters(BaseModel):
    """What a decision says about its origin."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    environment: str = Field(min_length=1)
