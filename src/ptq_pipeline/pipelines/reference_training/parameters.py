"""Parameters of ``reference_training``."""

from pydantic import BaseModel, ConfigDict, Field


class ReferenceModelParameters(BaseModel):
    """What to train and how; see ``models.training.TrainingRecipe``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    factory: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    epochs: int = Field(ge=1)
    peak_learning_rate: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    seed: int = Field(ge=0)
    threads: int = Field(ge=1)
