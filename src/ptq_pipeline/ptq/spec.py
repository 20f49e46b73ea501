"""What a quantization method is asked to do, as data with a JSON round trip that checks values."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, asdict, dataclass, field, fields, replace
from typing import Any, ClassVar, Literal, Self, Union, get_args, get_origin, get_type_hints

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.ptq.quantizer import MAX_BITS, IntegerScheme
from ptq_pipeline.ptq.ranges import ESTIMATORS, MinMax, MovingAverageMinMax, RangeEstimator

# Part of every trial's id. Raise it when the same spec and images would give other integers.
ENGINE_VERSION = "3"
# In the order in which they are applied: the first two change the float model, the others come
# after rounding.
CORRECTIONS = (
    "cross_layer_equalization",
    "smooth_quant",
    "bias_correction",
    "batch_norm_reestimation",
    "output_matching",
)
BEFORE_ROUNDING = CORRECTIONS[:2]
# How errors name the types of options.
KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


@dataclass(frozen=True, kw_only=True)
class MethodConfig:
    """Base of configurations; subclasses add fields of type bool, int, float, str, Literal,
    RangeEstimator, or one of these or None.

    Attributes:
        reducible: weights need no images, and activations only statistics of single images of the
            float model, see `ptq_pipeline.ptq.image_statistics`.
        min_images: calibration images that it needs at least.
        later: options that are in the JSON form, and so in the ids of trials, only where they are
            not the default.
        name: under which the method is registered.
        weight_bits: 2 to 8.
        activation_bits: 2 to 8.
        corrections: names of corrections around the method, in the order of `CORRECTIONS`.

    Raises:
        InputError: a number of bits is not supported, a correction is unknown or there is nothing
            that it could change.

    Example:
        >>> @dataclass(frozen=True, kw_only=True)
        ... class Mine(MethodConfig):
        ...     rounds: int = 3
        >>> Mine.from_json({"name": "mine", "weight_bits": 4}).to_json()
        {'name': 'mine', 'weight_bits': 4, 'activation_bits': 8, 'rounds': 3}
    """  # noqa: D205

    reducible: ClassVar[bool] = False
    min_images: ClassVar[int] = 1
    later: ClassVar[tuple[str, ...]] = ("corrections",)
    file_format: ClassVar[str | None] = None

    name: str = ""
    weight_bits: int = 8
    activation_bits: int = 8
    corrections: tuple[str, ...] = ()

    @property
    def uses_seed(self) -> bool:
        """Whether anything in the method is random."""
        return True

    def __post_init__(self) -> None:
        self._require_bits("weight_bits", self.weight_bits)
        self._require_bits("activation_bits", self.activation_bits)
        for name in self.corrections:
            if name not in CORRECTIONS:
                raise InputError(
                    f"method {self.name}: corrections: unknown name {name!r}; allowed are "
                    f"{list(CORRECTIONS)}"
                )
        if self.corrections and self.file_format is not None:
            raise InputError(
                f"method {self.name} writes a file of its own, so 'corrections' have nothing to "
                "change; leave them out, or choose a method of this package"
            )

    def _require_layer_bits(self, *keys: str) -> None:
        for key in keys:
            for layer, bits in getattr(self, key).items():
                self._require_bits(f"{key}: {layer}", bits)

    def _require_bits(self, key: str, bits: Any) -> None:
        try:
            IntegerScheme(bits, symmetric=True)
        except InputError as error:
            raise InputError(f"method {self.name}: {key}: {error}") from None

    def to_json(self) -> dict[str, Any]:
        """Return plain values that `from_json` reads back to an equal configuration.

        Options that came later are left out while they have their default, so a configuration keeps
        its JSON form, and its trials their ids.
        """
        defaults = {part.name: part for part in fields(self) if part.name in self.later}
        return {
            part.name: _plain(getattr(self, part.name))
            for part in fields(self)
            if part.name not in defaults or getattr(self, part.name) != _default(part)
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Build a configuration from plain values; what is left out has its default.

        A range estimator is ``{"name": ..., option: value}``, or just its name.

        Raises:
            InputError: a key is unknown or a value is of another type; the message names it.
        """
        hints = get_type_hints(cls)
        where = f"method {values.get('name', getattr(cls, 'name', None))}"
        _check_keys(where, values, [part.name for part in fields(cls)])
        return cls(**{key: _parsed(f"{where}: {key}", values[key], hints[key]) for key in values})


@dataclass(frozen=True)
class MethodSpec(MethodConfig):
    """The method ``nearest``: ranges by an estimator, each weight to the nearest code.

    Attributes:
        weight_bits: 2 to 8.
        activation_bits: 2 to 8.
        weight_range: range estimator of the weights.
        activation_range: range estimator of each layer's input.
        weight_granularity: one scale per output channel, or one for the whole tensor.
        rounding: to the nearest code, half to even.
        weight_symmetric: signed integers with zero point 0, or unsigned ones.
        activation_symmetric: the same of the activations.
        layer_weight_bits: bits of single layers' weights, by layer name (mixed precision).
        layer_activation_bits: bits of single layers' inputs.
        first_last_8_bit: weight and input of the first and the last layer have 8 bits.
        first_input_8_bit: the input of the first layer has 8 bits.

    Raises:
        InputError: a number of bits is not supported, or a correction needs other options.

    Example:
        >>> MethodSpec.from_json({"weight_bits": 4, "activation_range": {"name": "mse", "p": 2.0}})
        ... # doctest: +ELLIPSIS
        MethodSpec(weight_bits=4, activation_bits=8, ... activation_range=Mse(p=2.0), ...)
    """

    name: ClassVar[str] = "nearest"  # type: ignore[misc]
    later: ClassVar[tuple[str, ...]] = (
        *("corrections", "weight_symmetric", "activation_symmetric"),
        *("layer_weight_bits", "layer_activation_bits"),
        *("first_last_8_bit", "first_input_8_bit"),
    )
    weight_bits: int = 8
    activation_bits: int = 8
    weight_range: RangeEstimator = field(default_factory=MinMax)
    activation_range: RangeEstimator = field(default_factory=MinMax)
    weight_granularity: Literal["per_channel", "per_tensor"] = "per_channel"
    rounding: Literal["nearest"] = "nearest"
    weight_symmetric: bool = True
    activation_symmetric: bool = False
    layer_weight_bits: Mapping[str, int] = field(default_factory=dict)
    layer_activation_bits: Mapping[str, int] = field(default_factory=dict)
    first_last_8_bit: bool = False
    first_input_8_bit: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_layer_bits("layer_weight_bits", "layer_activation_bits")
        per_tensor = self.weight_granularity == "per_tensor"
        if per_tensor and "batch_norm_reestimation" in self.corrections:
            raise InputError(
                "method nearest: batch_norm_reestimation scales each output channel, so it "
                "needs weight_granularity 'per_channel'"
            )

    @property
    def uses_seed(self) -> bool:
        """Nothing is."""
        return False

    @property
    def reducible(self) -> bool:  # type: ignore[override]
        """Not with a moving average, which goes by batches in their order, or with corrections."""
        return not (self.corrections or isinstance(self.activation_range, MovingAverageMinMax))

    def of_layers(self, layers: Sequence[str]) -> Self:
        """Return the same with the bits of the first and the last of the layers spelled out.

        Bits that a layer was given by its name stay.

        Example:
            >>> method = MethodSpec(weight_bits=4, activation_bits=4, first_input_8_bit=True)
            >>> method.of_layers(["stem", "head"]).layer_activation_bits
            {'stem': 8}
        """
        ends = {layers[0]: MAX_BITS, layers[-1]: MAX_BITS} if self.first_last_8_bit else {}
        first = {layers[0]: MAX_BITS} if self.first_input_8_bit else {}
        return replace(
            self,
            layer_weight_bits={**ends, **self.layer_weight_bits},
            layer_activation_bits={**first, **ends, **self.layer_activation_bits},
        )

    def weight_scheme_of(self, layer: str) -> IntegerScheme:
        """Integers of one layer's weight."""
        bits = self.layer_weight_bits.get(layer, self.weight_bits)
        return IntegerScheme(bits, self.weight_symmetric)

    def activation_scheme_of(self, layer: str) -> IntegerScheme:
        """Integers of one layer's input, or of one operand."""
        bits = self.layer_activation_bits.get(layer, self.activation_bits)
        return IntegerScheme(bits, self.activation_symmetric)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Build a spec from plain values, as `MethodConfig.from_json`; the name may be there."""
        if values.get("name", cls.name) != cls.name:
            raise InputError(f"method: {values['name']!r} is not {cls.name!r}")
        return super().from_json({key: values[key] for key in values if key != "name"})


def _default(part: Field[Any]) -> Any:
    return part.default if part.default_factory is MISSING else part.default_factory()


def _plain(value: Any) -> Any:
    if isinstance(value, RangeEstimator):
        return {"name": value.name, **asdict(value)}  # type: ignore[call-overload]
    if isinstance(value, tuple):
        return list(value)
    return dict(value) if isinstance(value, Mapping) else value


def _parsed(where: str, value: Any, hint: Any) -> Any:
    if hint is RangeEstimator:
        return _estimator(where, value)
    if get_origin(hint) in (Union, types.UnionType):
        if value is None and type(None) in get_args(hint):
            return None
        (hint,) = (option for option in get_args(hint) if option is not type(None))
    kind = get_origin(hint) or hint
    if kind is Literal:
        if value not in get_args(hint):
            raise InputError(f"{where} must be one of {list(get_args(hint))}, got {value!r}")
        return value
    if kind in (tuple, Mapping):
        what = "a list of names" if kind is tuple else "a mapping from layer to bits"
        if not isinstance(value, list | tuple if kind is tuple else Mapping):
            raise InputError(f"{where} must be {what}, got {value!r}")
        return tuple(value) if kind is tuple else value
    is_bool = isinstance(value, bool)
    if kind is float and isinstance(value, int | float) and not is_bool:
        return float(value)
    if not isinstance(value, kind) or (is_bool and kind is not bool):
        raise InputError(f"{where} must be {KINDS.get(kind, kind.__name__)}, got {value!r}")
    return value


def _estimator(where: str, value: Any) -> RangeEstimator:
    options = {"name": value} if isinstance(value, str) else value
    if not isinstance(options, Mapping) or options.get("name") not in ESTIMATORS:
        name = options.get("name") if isinstance(options, Mapping) else options
        raise InputError(f"{where}: unknown name {name!r}; allowed are {sorted(ESTIMATORS)}")
    kind = ESTIMATORS[options["name"]]
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
