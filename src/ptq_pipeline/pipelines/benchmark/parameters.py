"""Parameters of ``benchmark``."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from ptq_pipeline.calibration.parameters import DrawPlan
from ptq_pipeline.calibration.strategies import parse_strategy
from ptq_pipeline.calibration.strategy import Strategy
from ptq_pipeline.core.names import CLEAN
from ptq_pipeline.core.overlays import WITHOUT_NULL
from ptq_pipeline.stress.perturbations import check_description
from ptq_pipeline.stress.shifts import StressParameters
from ptq_pipeline.trials.recipe import ExecutorParameters, RuntimeParameters

if TYPE_CHECKING:
    from ptq_pipeline.ptq import MethodConfig

MODELS = ("resnet20", "mobilenet_v2_small")
Methods = Annotated[dict[str, dict[str, Any]], WITHOUT_NULL]
BITS = re.compile(r"W([2-8])A([2-8])")


class CalibrationChoice(BaseModel):
    """One calibration distribution.

    Attributes:
        strategy: name of a strategy.
        options: its options.
        size: images per set; that of the benchmark when left out.
        augmentation: what is done to the pixels.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    strategy: str = "random"
    options: dict[str, Any] = {}
    size: int | None = Field(default=None, ge=2)
    augmentation: dict[str, Any] = {}

    @model_validator(mode="after")
    def _known(self) -> Self:
        _ = self.drawn_by
        check_description(self.augmentation)
        return self

    @cached_property
    def drawn_by(self) -> Strategy:
        """The strategy with its options."""
        return parse_strategy(self.strategy, self.options)

    def plan(self, size: int, seed: int) -> DrawPlan:
        """Return how its sets are drawn; ``size`` holds where it has none of its own."""
        return DrawPlan(self.drawn_by, self.size or size, seed, self.augmentation)


@dataclass(frozen=True)
class Cell:
    """One combination; each of its draws is a trial, or several with as many seeds."""

    study: str
    bits: str
    method: str
    calibration: str
    choice: CalibrationChoice
    draws: int
    seeds: int


class BenchmarkStudy(BaseModel):
    """What is crossed with each other.

    Attributes:
        bits: such as ``W4A8``; all of the benchmark when left out.
        methods: names; all of the benchmark when left out.
        calibrations: by name; with ``axis`` the names are the numbers on the axis of a figure.
        axis: what the numbers are; None for a study of names.
        reference: the calibration that the others are compared with.
        draws: calibration sets per distribution; those of the benchmark when left out.
        seeds: seeds of the method per calibration set, for methods that are random.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    bits: tuple[str, ...] | None = None
    methods: tuple[str, ...] | None = None
    draws: int | None = Field(default=None, ge=2)
    seeds: int = Field(default=1, ge=1)
    calibrations: Annotated[dict[str, CalibrationChoice], WITHOUT_NULL] = Field(min_length=1)
    axis: str | None = None
    reference: str

    @field_validator("calibrations", mode="before")
    @classmethod
    def _named(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        return {str(name): choice for name, choice in given.items()}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.reference not in self.calibrations:
            raise ValueError(
                f"reference '{self.reference}' is none of the calibrations "
                f"{list(self.calibrations)}"
            )
        if self.axis is not None:
            for name in self.calibrations:
                float(name)
        return self


class Only(BaseModel):
    """A subset of the grid: lists of names, or on the command line names joined by ``+``.

    What is left out is not restricted.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    models: tuple[str, ...] | None = None
    bits: tuple[str, ...] | None = None
    methods: tuple[str, ...] | None = None
    studies: tuple[str, ...] | None = None
    calibrations: tuple[str, ...] | None = None
    shifts: tuple[str, ...] | None = None

    @field_validator("*", mode="before")
    @classmethod
    def _split(cls, given: Any) -> Any:
        return given.split("+") if isinstance(given, str) else given

    def allows(self, what: str, name: str) -> bool:
        """Return whether ``name`` of ``what`` is in the subset."""
        chosen = getattr(self, what)
        return chosen is None or name in chosen


class BenchmarkParameters(BaseModel):
    """The grid.

    Attributes:
        seed: master seed of the calibration sets.
        draws: calibration sets per distribution, where a study does not say otherwise.
        set_size: images per set, likewise.
        bits: such as ``W4A8``.
        methods: what is crossed, by name; bits are added.
        named_methods: methods that only the studies use that name them.
        shifts: of the selection images.
        studies: by name.
        only: a subset.
        replicates: resamplings of the images behind each interval.
        level: confidence of the intervals.
        runtime: what executes the models.
        executor: where trials run; workers calibrate each trial by passes of its own.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = Field(ge=0)
    draws: int = Field(default=5, ge=2)
    set_size: int = Field(default=256, ge=2)
    bits: tuple[str, ...] = Field(min_length=1)
    methods: Methods = Field(min_length=1)
    named_methods: Methods = {}
    shifts: StressParameters
    studies: Annotated[dict[str, BenchmarkStudy], WITHOUT_NULL] = Field(min_length=1)
    only: Only = Only()
    replicates: int = Field(default=400, ge=50)
    level: float = Field(default=0.95, gt=0.5, lt=1)
    runtime: Annotated[RuntimeParameters, Field(discriminator="name"), WITHOUT_NULL]
    executor: ExecutorParameters = ExecutorParameters()

    @field_validator("bits")
    @classmethod
    def _bits(cls, bits: tuple[str, ...]) -> tuple[str, ...]:
        for each in bits:
            if not BITS.fullmatch(each):
                raise ValueError(f"bits '{each}' are not of the form W4A8, each 2 to 8")
        return bits

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        known = {
            "models": MODELS,
            "bits": self.bits,
            "methods": (*self.methods, *self.named_methods),
            "studies": tuple(self.studies),
            "calibrations": tuple(n for s in self.studies.values() for n in s.calibrations),
            "shifts": tuple(self.shifts.root),
        }
        chosen = [("only", what, getattr(self.only, what)) for what in known]
        for name, study in self.studies.items():
            chosen += [(name, "bits", study.bits), (name, "methods", study.methods)]
        for where, what, names in chosen:
            unknown = sorted(set(names or ()) - set(known[what]))
            if unknown:
                raise ValueError(f"{where}.{what}: '{unknown[0]}' is none of {list(known[what])}")
        if not self.only.allows("shifts", CLEAN):
            raise ValueError("only.shifts: 'clean' must be among them")
        if twice := sorted(set(self.methods) & set(self.named_methods)):
            raise ValueError(f"methods and named_methods: '{twice[0]}' is in both")
        # Parsed now, so that a bad option is an error of the parameters.
        _ = self.every_method
        return self

    @cached_property
    def every_method(self) -> "dict[tuple[str, str], MethodConfig]":
        """Every method at every bit setting, by both names."""
        from ptq_pipeline.ptq import method_from_json

        every = {}
        for bits in self.bits:
            found = BITS.fullmatch(bits)
            assert found is not None
            widths = {"weight_bits": int(found[1]), "activation_bits": int(found[2])}
            for name, options in {**self.methods, **self.named_methods}.items():
                every[name, bits] = method_from_json({**options, **widths})
        return every

    def cells(self) -> Iterator[Cell]:
        """Yield the cells of all studies that the subset allows, in a fixed order."""
        allows = self.only.allows
        for name, study in self.studies.items():
            for label, choice in study.calibrations.items():
                if not (allows("studies", name) and allows("calibrations", label)):
                    continue
                for bits in study.bits or self.bits:
                    for method in study.methods or self.methods:
                        if allows("bits", bits) and allows("methods", method):
                            draws = study.draws or self.draws
                            yield Cell(name, bits, method, label, choice, draws, study.seeds)

    @property
    def allowed_shifts(self) -> StressParameters:
        """The shifts of the subset."""
        shifts = self.shifts.root.items()
        return StressParameters({name: o for name, o in shifts if self.only.allows("shifts", name)})
