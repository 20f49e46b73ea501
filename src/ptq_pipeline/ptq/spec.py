"""What a quantization method is asked to do, as data with a JSON round trip."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar

from ptq_pipeline.errors import InputError
from ptq_pipeline.ptq.quantizer import IntegerScheme
from ptq_pipeline.ptq.ranges import ESTIMATORS, MinMax, RangeEstimator

# Part of every trial's id. Raise it when the same spec and images would give other integers.
ENGINE_VERSION = "1"


@dataclass(frozen=True)
class PerTensor:
    """One step for the whole tensor: weights ``(64, 32, 3, 3)`` have 1 step."""

    name: ClassVar[str] = "per_tensor"


@dataclass(frozen=True)
class PerChannel:
    """One step per output channel: weights ``(64, 32, 3, 3)`` have 64 steps."""

    name: ClassVar[str] = "per_channel"


@dataclass(frozen=True)
class NearestRounding:
    """Round each weight to the nearest code, half to even."""

    name: ClassVar[str] = "nearest"


GRANULARITIES: dict[str, type[PerTensor] | type[PerChannel]] = {
    PerTensor.name: PerTensor,
    PerChannel.name: PerChannel,
}
ROUNDINGS: dict[str, type[NearestRounding]] = {NearestRounding.name: NearestRounding}


@dataclass(frozen=True)
class MethodSpec:
    """One PTQ method: symmetric weights, asymmetric per-tensor activations, nearest rounding.

    Attributes:
        weight_bits: 2 to 8.
        activation_bits: 2 to 8.
        weight_range: range estimator of the weights.
        activation_range: range estimator of each layer's input.
        weight_granularity: one step per output channel (default) or per tensor.
        rounding: how weights become integers.

    Raises:
        InputError: a number of bits is not supported.

    Example:
        >>> MethodSpec.from_json({"weight_bits": 4, "activation_range": {"name": "mse", "p": 2.0}})
        ... # doctest: +ELLIPSIS
        MethodSpec(weight_bits=4, activation_bits=8, ... activation_range=Mse(p=2.0), ...)
    """

    weight_bits: int = 8
    activation_bits: int = 8
    weight_range: RangeEstimator = field(default_factory=MinMax)
    activation_range: RangeEstimator = field(default_factory=MinMax)
    weight_granularity: PerTensor | PerChannel = field(default_factory=PerChannel)
    rounding: NearestRounding = field(default_factory=NearestRounding)

    def __post_init__(self) -> None:
        for key in ("weight_bits", "activation_bits"):
            try:
                IntegerScheme(getattr(self, key), symmetric=True)
            except InputError as error:
                raise InputError(f"method: {key}: {error}") from None

    @property
    def reducible(self) -> bool:
        """Whether activations follow from the float model's statistics of single images alone.

        Then no draw needs a forward pass of its own, see `ptq_pipeline.ptq.image_statistics`.
        """
        return True

    @property
    def weight_scheme(self) -> IntegerScheme:
        """Signed integers of the weights."""
        return IntegerScheme(self.weight_bits, symmetric=True)

    @property
    def activation_scheme(self) -> IntegerScheme:
        """Unsigned integers of the activations."""
        return IntegerScheme(self.activation_bits, symmetric=False)

    def to_json(self) -> dict[str, Any]:
        """Return plain values that `from_json` reads back to an equal spec."""
        return {
            "weight_bits": self.weight_bits,
            "activation_bits": self.activation_bits,
            "weight_range": _part_to_json(self.weight_range),
            "activation_range": _part_to_json(self.activation_range),
            "weight_granularity": self.weight_granularity.name,
            "rounding": self.rounding.name,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> MethodSpec:
        """Build a spec from plain values; what is left out has its default.

        Args:
            values: keys are the attributes; estimators are ``{"name": ..., option: value}`` or
                just the name, granularity and rounding are names.

        Returns:
            The spec.

        Raises:
            InputError: a key, a name or an option is unknown, or a value is not supported; the
                message names it and what is allowed.
        """
        _check_keys("method", values, [part.name for part in fields(cls)])
        parsed = dict(values)
        for key in ("weight_range", "activation_range"):
            if key in parsed:
                parsed[key] = _part_from_json(f"method: {key}", parsed[key], ESTIMATORS)
        if "weight_granularity" in parsed:
            parsed["weight_granularity"] = _part_from_json(
                "method: weight_granularity", parsed["weight_granularity"], GRANULARITIES
            )
        if "rounding" in parsed:
            parsed["rounding"] = _part_from_json("method: rounding", parsed["rounding"], ROUNDINGS)
        return cls(**parsed)


def _part_to_json(part: Any) -> dict[str, Any]:
    return {"name": part.name, **asdict(part)}


def _part_from_json(where: str, value: Any, known: Mapping[str, type]) -> Any:
    """Build one named part from its name, or from a mapping of its name and options."""
    options = {"name": value} if isinstance(value, str) else value
    if not isinstance(options, Mapping) or options.get("name") not in known:
        name = options.get("name") if isinstance(options, Mapping) else options
        raise InputError(f"{where}: unknown name {name!r}; allowed are {sorted(known)}")
    kind = known[options["name"]]
    allowed = [part.name for part in fields(kind)]
    _check_keys(where, options, ["name", *allowed])
    chosen = {key: options[key] for key in allowed if key in options}
    for key, number in chosen.items():
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise InputError(f"{where}: {key} must be a number, got {number!r}")
    try:
        return kind(**{key: float(number) for key, number in chosen.items()})
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _check_keys(where: str, values: Mapping[str, Any], allowed: list[str]) -> None:
    unknown = sorted(set(values) - set(allowed))
    if unknown:
        raise InputError(f"{where}: unknown key {unknown[0]!r}; allowed are {sorted(allowed)}")
