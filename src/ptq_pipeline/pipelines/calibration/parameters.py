"""Parameters of ``calibration``."""

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ptq_pipeline.calibration import STRATEGIES, DrawPlan, parse_options
from ptq_pipeline.stress.perturbations import check_description


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
    """Which calibration sets are drawn."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = Field(ge=0)
    set_size: int = Field(default=256, ge=1)
    strategy: str = "random"
    draws: int = Field(default=50, ge=1)
    max_draws: int | None = Field(default=None, ge=1)
    comparison_strategies: tuple[str, ...] = ()
    comparison_draws: int = Field(default=5, ge=0)
    options: dict[str, dict[str, Any]] = {}
    augmentation: dict[str, Any] | None = None
    validation: ValidationParameters
    data_docs: bool = True

    @model_validator(mode="after")
    def _agree(self) -> Self:
        for name in (self.strategy, *self.comparison_strategies, *self.options):
            parse_options(name, self.options.get(name))
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
        return self

    def plan(self) -> DrawPlan:
        """Return what to draw; ``max_draws`` is twice ``draws`` when left out."""
        return DrawPlan(
            strategy=self.strategy,
            options={name: parse_options(name, self.options.get(name)) for name in STRATEGIES},
            size=self.set_size,
            draws=self.draws,
            max_draws=2 * self.draws if self.max_draws is None else self.max_draws,
            comparison_strategies=self.comparison_strategies,
            comparison_draws=self.comparison_draws,
            seed=self.seed,
            augmentation=self.augmentation or {},
        )
