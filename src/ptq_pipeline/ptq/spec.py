"""What a quantization method is asked to do, as data with a JSON round trip."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.ptq.quantizer import IntegerScheme
from ptq_pipeline.ptq.ranges import ESTIMATORS, MinMax, MovingAverageMinMax, RangeEstimator

# Part of every trial's id. Raise it when the same spec and images would give other integers.
ENGINE_VERSION = "2"


@dataclass(frozen=True)
class PerTensor:
    """One scale for the whole tensor: weights ``(64, 32, 3, 3)`` have 1 scale."""

    name: ClassVar[str] = "per_tensor"


@dataclass(frozen=True)
class PerChannel:
    """One scale per output channel: weights ``(64, 32, 3, 3)`` have 64 scales."""

    name: ClassVar[str] = "per_channel"


@dataclass(frozen=True)
class NearestRounding:
    """Round each weight to the nearest code, half to even."""

    name: ClassVar[str] = "nearest"


GRANULARITIES: dict[str, type[PerTensor] | type[PerChannel]] = {
    PerTensor.name: PerTensor,
    PerChannel.name: PerChannel,
}
# In the order in which they are applied: the first two change the float model, the others come
# after rounding.
CORRECTIONS = (
    "cross_layer_equalization",
    "smooth_quant",
    "bias_correction",
    "batch_norm_reestimation",
)
ROUNDINGS: dict[str, type[NearestRounding]] = {NearestRounding.name: NearestRounding}


@dataclass(frozen=True)
class MethodSpec:
    """The method ``nearest``: ranges by an estimator, each weight to the nearest code.

    Weights are symmetric per channel and activations asymmetric per tensor, unless told otherwise.

    Attributes:
        weight_bits: 2 to 8.
        activation_bits: 2 to 8.
        weight_range: range estimator of the weights.
        activation_range: range estimator of each layer's input.
        weight_granularity: one scale per output channel (default) or per tensor.
        rounding: how weights become integers.
        weight_symmetric: signed integers with zero point 0, or unsigned ones.
        activation_symmetric: the same of the activations.
        corrections: names of corrections, applied in the order of `CORRECTIONS`.
        layer_weight_bits: bits of single layers' weights, by layer name (mixed precision).
        layer_activation_bits: bits of single layers' inputs.

    Raises:
        InputError: a number of bits is not supported, or a correction is unknown.

    Example:
        >>> MethodSpec.from_json({"weight_bits": 4, "activation_range": {"name": "mse", "p": 2.0}})
        ... # doctest: +ELLIPSIS
        MethodSpec(weight_bits=4, activation_bits=8, ... activation_range=Mse(p=2.0), ...)
    """

    name: ClassVar[str] = "nearest"
    min_images: ClassVar[int] = 1

    weight_bits: int = 8
    activation_bits: int = 8
    weight_range: RangeEstimator = field(default_factory=MinMax)
    activation_range: RangeEstimator = field(default_factory=MinMax)
    weight_granularity: PerTensor | PerChannel = field(default_factory=PerChannel)
    rounding: NearestRounding = field(default_factory=NearestRounding)
    weight_symmetric: bool = True
    activation_symmetric: bool = False
    corrections: tuple[str, ...] = ()
    layer_weight_bits: Mapping[str, int] = field(default_factory=dict)
    layer_activation_bits: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for key in ("weight_bits", "activation_bits"):
            require_bits(f"method: {key}", getattr(self, key))
        for key in ("layer_weight_bits", "layer_activation_bits"):
            for layer, bits in getattr(self, key).items():
                require_bits(f"method: {key}: {layer}", bits)
        for name in self.corrections:
            if name not in CORRECTIONS:
                raise InputError(
                    f"method: corrections: unknown name {name!r}; allowed are {list(CORRECTIONS)}"
                )
        per_tensor = isinstance(self.weight_granularity, PerTensor)
        if per_tensor and "batch_norm_reestimation" in self.corrections:
            raise InputError(
                "method: batch_norm_reestimation scales each output channel, so it needs "
                "weight_granularity 'per_channel'"
            )

    @property
    def reducible(self) -> bool:
        """Whether weights need no images, and activations follow from statistics of single images.

        Then no draw needs a forward pass of its own, see `ptq_pipeline.ptq.image_statistics`. A
        moving average goes by batches in their order, and corrections need forward passes.
        """
        averaged = isinstance(self.activation_range, MovingAverageMinMax)
        return not (self.corrections or averaged)

    def weight_scheme_of(self, layer: str) -> IntegerScheme:
        """Integers of one layer's weight."""
        return IntegerScheme(
            self.layer_weight_bits.get(layer, self.weight_bits), self.weight_symmetric
        )

    def activation_scheme_of(self, layer: str) -> IntegerScheme:
        """Integers of one layer's input, or of one operand."""
        bits = self.layer_activation_bits.get(layer, self.activation_bits)
        return IntegerScheme(bits, self.activation_symmetric)

    def to_json(self) -> dict[str, Any]:
        """Return plain values that `from_json` reads back to an equal spec.

        Options that came later are left out while they have their default, so a spec keeps its
        JSON form, and its trials their ids.
        """
        later: dict[str, Any] = {
            "weight_symmetric": (self.weight_symmetric, True),
            "activation_symmetric": (self.activation_symmetric, False),
            "corrections": (list(self.corrections), []),
            "layer_weight_bits": (dict(self.layer_weight_bits), {}),
            "layer_activation_bits": (dict(self.layer_activation_bits), {}),
        }
        return {
            "weight_bits": self.weight_bits,
            "activation_bits": self.activation_bits,
            "weight_range": part_to_json(self.weight_range),
            "activation_range": part_to_json(self.activation_range),
            "weight_granularity": self.weight_granularity.name,
            "rounding": self.rounding.name,
            **{key: value for key, (value, default) in later.items() if value != default},
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> MethodSpec:
        """Build a spec from plain values; what is left out has its default.

        Args:
            values: keys are the attributes; estimators are ``{"name": ..., option: value}`` or
                just the name, granularity and rounding are names. ``name: nearest`` may be there.

        Returns:
            The spec.

        Raises:
            InputError: a key, a name or an option is unknown, or a value is not supported; the
                message names it and what is allowed.
        """
        parsed = dict(values)
        if parsed.pop("name", cls.name) != cls.name:
            raise InputError(f"method: {values['name']!r} is not {cls.name!r}")
        check_keys("method", parsed, [part.name for part in fields(cls)])
        for key, known in (
            ("weight_range", ESTIMATORS),
            ("activation_range", ESTIMATORS),
            ("weight_granularity", GRANULARITIES),
            ("rounding", ROUNDINGS),
        ):
            if key in parsed:
                parsed[key] = part_from_json(f"method: {key}", parsed[key], known)
        for key, kind, what in (
            ("weight_symmetric", bool, "true or false"),
            ("activation_symmetric", bool, "true or false"),
            ("corrections", list | tuple, "a list of names"),
            ("layer_weight_bits", Mapping, "a mapping from layer to bits"),
            ("layer_activation_bits", Mapping, "a mapping from layer to bits"),
        ):
            if key in parsed and not isinstance(parsed[key], kind):
                raise InputError(f"method: {key} must be {what}, got {parsed[key]!r}")
        if "corrections" in parsed:
            parsed["corrections"] = tuple(parsed["corrections"])
        return cls(**parsed)


def require_bits(where: str, bits: Any) -> None:
    """Check a number of bits.

    Raises:
        InputError: it is not an integer from 2 to 8.
    """
    try:
        IntegerScheme(bits, symmetric=True)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def part_to_json(part: Any) -> dict[str, Any]:
    """Return a named part as its name and options."""
    return {"name": part.name, **asdict(part)}


def part_from_json(where: str, value: Any, known: Mapping[str, type]) -> Any:
    """Build one named part from its name, or from a mapping of its name and options."""
    options = {"name": value} if isinstance(value, str) else value
    if not isinstance(options, Mapping) or options.get("name") not in known:
        name = options.get("name") if isinstance(options, Mapping) else options
        raise InputError(f"{where}: unknown name {name!r}; allowed are {sorted(known)}")
    kind = known[options["name"]]
    allowed = [part.name for part in fields(kind)]
    check_keys(where, options, ["name", *allowed])
    chosen = {key: options[key] for key in allowed if key in options}
    for key, number in chosen.items():
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise InputError(f"{where}: {key} must be a number, got {number!r}")
    try:
        return kind(**{key: float(number) for key, number in chosen.items()})
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def check_keys(where: str, values: Mapping[str, Any], allowed: list[str]) -> None:
    """Check that there are no other keys than these.

    Raises:
        InputError: there are; the message names the first one and what is allowed.
    """
    unknown = sorted(set(values) - set(allowed))
    if unknown:
        raise InputError(f"{where}: unknown key {unknown[0]!r}; allowed are {sorted(allowed)}")
