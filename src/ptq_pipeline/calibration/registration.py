"""What a strategy is: a typed configuration and a handler under one name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict

from ptq_pipeline.calibration.pool import Pool
from ptq_pipeline.errors import InputError


class StrategyOptions(BaseModel):
    """Base of the strategies' configurations."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class Drawing:
    """What a handler returns: rows of the pool, in order, and what to do to their pixels."""

    rows: np.ndarray
    augmentation: Mapping[str, Any] = field(default_factory=dict)


Options = TypeVar("Options", bound=StrategyOptions)
Handler = Callable[[Pool, Options, int, np.random.Generator], Drawing]


@dataclass(frozen=True)
class Strategy:
    """A registered strategy."""

    options: type[StrategyOptions]
    draw: Callable[[Pool, Any, int, np.random.Generator], Drawing]


STRATEGIES: dict[str, Strategy] = {}


def register_strategy(
    name: str, options: type[Options]
) -> Callable[[Handler[Options]], Handler[Options]]:
    """Register a handler ``(pool, options, size, generator) -> Drawing`` under ``name``."""

    def register(handler: Handler[Options]) -> Handler[Options]:
        STRATEGIES[name] = Strategy(options, handler)
        return handler

    return register


def biased(
    pool: Pool,
    favoured: np.ndarray,
    what: str,
    strength: float,
    size: int,
    generator: np.random.Generator,
) -> Drawing:
    """Return a drawing with a share ``strength`` of favoured rows, the rest from everything."""
    chosen = take(favoured, round(strength * size), what, generator)
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
