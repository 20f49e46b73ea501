"""What a strategy is: a typed configuration that draws."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from ptq_pipeline.calibration.pool import Pool
from ptq_pipeline.core.errors import InputError


@dataclass(frozen=True)
class Drawing:
    """What was drawn: rows of the pool, in order, and what to do to their pixels."""

    rows: np.ndarray
    augmentation: Mapping[str, Any] = field(default_factory=dict)


class Strategy(BaseModel, ABC):
    """How calibration images are drawn from the pool; the fields are its options."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: ClassVar[str]

    @abstractmethod
    def draw(self, pool: Pool, size: int, generator: np.random.Generator) -> Drawing:
        """Draw ``size`` rows of the pool; all randomness comes from the generator.

        Raises:
            InputError: the pool cannot supply the set.
        """


class Biased(Strategy):
    """Base of strategies that favour some images.

    Attributes:
        strength: share of the set that is drawn from the favoured images only, the rest being drawn
            from everything: 0 is a random set, 1 holds nothing but favoured images.
    """

    strength: float = Field(default=0.7, ge=0, le=1)

    def mixed(
        self, pool: Pool, favoured: np.ndarray, what: str, size: int, generator: np.random.Generator
    ) -> Drawing:
        """Return a drawing with a share ``strength`` of favoured rows; ``what`` names them."""
        chosen = take(favoured, round(self.strength * size), what, generator)
        others = np.setdiff1d(np.arange(len(pool)), chosen)
        rest = generator.permutation(others)[: size - len(chosen)]
        return Drawing(generator.permutation(np.concatenate([chosen, rest])))


def take(
    candidates: np.ndarray, count: int, what: str, generator: np.random.Generator
) -> np.ndarray:
    """Draw ``count`` of the candidates.

    Raises:
        InputError: there are fewer; ``what`` says of what.
    """
    if len(candidates) < count:
        raise InputError(
            f"the pool holds {len(candidates)} image(s) of {what}, the calibration set needs "
            f"{count}; enlarge the pool, lower 'calibration.set_size', or leave the strategy out"
        )
    return generator.permutation(candidates)[:count]
