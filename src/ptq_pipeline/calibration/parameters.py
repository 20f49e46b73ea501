"""What is drawn and how it is validated: the parameters of ``calibration``."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ptq_pipeline.calibration.strategies import parse_strategy
from ptq_pipeline.calibration.strategy import Strategy
from ptq_pipeline.core.canonical import canonical_hash
from ptq_pipeline.core.overlays import WITHOUT_NULL
from ptq_pipeline.stress.perturbations import check_description


@dataclass(frozen=True)
class DrawPlan:
    """What the sets of one strategy have in common.

    Attributes:
        strategy: draws the images.
        size: images per set.
        seed: master seed.
        augmentation: what is done to the pixels after the strategy, see `perturb`; its seeds follow
            from the draw's. The images are those of the set without augmentation.
    """

    strategy: Strategy
    size: int
    seed: int
    augmentation: Mapping[str, Any] = field(default_factory=dict)

    def seed_of(self, draw: int) -> int:
        """Return the 53-bit seed of one draw, which fits every JSON reader and int64 column."""
        options = self.strategy.model_dump()
        spec = {"strategy": self.strategy.name, "options": options, "seed": self.seed, "draw": draw}
        return int(canonical_hash(spec)[:16], 16) >> 11


class ValidationParameters(BaseModel):
    """How calibration sets are validated."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    family_wise_level: float = Field(default=0.03, gt=0, lt=1)
    simulated_draws: int = Field(default=10_000, ge=200)
    features: tuple[str, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _resolvable(self) -> Self:
        if self.family_wise_level * self.simulated_draws < 20:
            raise ValueError(
                f"family_wise_level {self.family_wise_level} cannot be resolved by "
                f"{self.simulated_draws} simulated_draws; their product must be at least 20"
            )
        if len(set(self.features)) != len(self.features):
            raise ValueError(f"features are named twice in {self.features}")
        return self


class CalibrationParameters(BaseModel):
    """Which calibration sets are drawn.

    Attributes:
        seed: master seed.
        set_size: images per set.
        strategy: the recipe's strategy; only its sets are evidence.
        draws: valid sets of the recipe's strategy wanted.
        max_draws: sets of it drawn at most; twice ``draws`` when left out.
        comparison_strategies: strategies drawn for comparison.
        comparison_draws: sets of each of them.
        options: of strategies, by name.
        augmentation: of the recipe's sets; comparison sets are left as their strategy makes them.
        validation: how sets are validated.
        data_docs: whether Great Expectations writes its pages.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = Field(ge=0)
    set_size: int = Field(default=256, ge=1)
    strategy: str = "random"
    draws: int = Field(default=50, ge=1)
    max_draws: int | None = Field(default=None, ge=1)
    comparison_strategies: tuple[str, ...] = ()
    comparison_draws: int = Field(default=5, ge=0)
    options: Annotated[dict[str, dict[str, Any]], WITHOUT_NULL] = {}
    augmentation: dict[str, Any] | None = None
    validation: ValidationParameters
    data_docs: bool = True

    @model_validator(mode="after")
    def _agree(self) -> Self:
        check_description(self.augmentation or {})
        if self.max_draws is not None and self.max_draws < self.draws:
            raise ValueError(f"max_draws ({self.max_draws}) is less than draws ({self.draws})")
        if self.strategy in self.comparison_strategies:
            raise ValueError(
                f"strategy '{self.strategy}' is the recipe's and cannot also be in "
                "comparison_strategies"
            )
        if len(set(self.comparison_strategies)) != len(self.comparison_strategies):
            raise ValueError(f"strategies are named twice in {self.comparison_strategies}")
        # Parsed now, so that a bad option is an error of the parameters.
        _ = self.strategies
        return self

    @cached_property
    def strategies(self) -> dict[str, Strategy]:
        """Every strategy that is named, by its name."""
        names = (self.strategy, *self.comparison_strategies, *self.options)
        return {name: parse_strategy(name, self.options.get(name)) for name in names}

    @property
    def most_draws(self) -> int:
        """``max_draws``, or its default."""
        return 2 * self.draws if self.max_draws is None else self.max_draws

    @property
    def recipe(self) -> DrawPlan:
        """What the evidence is drawn by."""
        return DrawPlan(
            self.strategies[self.strategy], self.set_size, self.seed, self.augmentation or {}
        )

    @property
    def comparisons(self) -> list[DrawPlan]:
        """What the comparison sets are drawn by."""
        return [
            DrawPlan(self.strategies[name], self.set_size, self.seed)
            for name in self.comparison_strategies
        ]
