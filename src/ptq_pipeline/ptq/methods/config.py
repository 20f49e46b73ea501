"""Configurations of methods: frozen dataclasses with a JSON round trip that checks every value."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import (
    Any,
    ClassVar,
    Literal,
    Protocol,
    Self,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.ptq.ranges import ESTIMATORS, RangeEstimator
from ptq_pipeline.ptq.spec import check_keys, part_from_json, part_to_json, require_bits


class Method(Protocol):
    """What every configuration of a method offers; `MethodSpec` and `MethodConfig` do.

    Attributes:
        name: under which the method is registered.
        weight_bits: bits of the weights.
        activation_bits: bits of the activations.
        reducible: weights need no images, and activations only statistics of the float model.
        min_images: calibration images that it needs at least.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def weight_bits(self) -> int: ...  # noqa: D102
    @property
    def activation_bits(self) -> int: ...  # noqa: D102
    @property
    def reducible(self) -> bool: ...  # noqa: D102
    @property
    def min_images(self) -> int: ...  # noqa: D102

    def to_json(self) -> dict[str, Any]:
        """Return plain values from which `method_from_json` makes an equal configuration."""
        ...


@dataclass(frozen=True, kw_only=True)
class MethodConfig:
    """Base of configurations; subclasses add fields of type bool, int, float, str, Literal,
    RangeEstimator, or one of these or None.

    Attributes:
        name: under which the method is registered.
        weight_bits: 2 to 8.
        activation_bits: 2 to 8.

    Raises:
        InputError: a number of bits is not supported.

    Example:
        >>> @dataclass(frozen=True, kw_only=True)
        ... class Mine(MethodConfig):
        ...     rounds: int = 3
        >>> Mine.from_json({"name": "mine", "weight_bits": 4}).to_json()
        {'name': 'mine', 'weight_bits': 4, 'activation_bits': 8, 'rounds': 3}
    """  # noqa: D205

    reducible: ClassVar[bool] = False
    min_images: ClassVar[int] = 1

    name: str
    weight_bits: int = field(default=8)
    activation_bits: int = field(default=8)

    def __post_init__(self) -> None:
        require_bits(f"method {self.name}: weight_bits", self.weight_bits)
        require_bits(f"method {self.name}: activation_bits", self.activation_bits)

    def to_json(self) -> dict[str, Any]:
        """Return plain values that `from_json` reads back to an equal configuration."""
        hints = _hints(type(self))
        return {
            key: part_to_json(getattr(self, key)) if hint is RangeEstimator else getattr(self, key)
            for key, hint in hints.items()
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Build a configuration from plain values; what is left out has its default.

        Raises:
            InputError: a key is unknown or a value is of another type; the message names it.
        """
        hints = _hints(cls)
        where = f"method {values.get('name')}"
        check_keys(where, values, list(hints))
        return cls(**{key: _parsed(f"{where}: {key}", values[key], hints[key]) for key in values})


def _hints(cls: type) -> dict[str, Any]:
    hints = get_type_hints(cls)
    return {part.name: hints[part.name] for part in fields(cls)}


def _parsed(where: str, value: Any, hint: Any) -> Any:
    if hint is RangeEstimator:
        return part_from_json(where, value, ESTIMATORS)
    if get_origin(hint) in (Union, types.UnionType):
        if value is None and type(None) in get_args(hint):
            return None
        (hint,) = (option for option in get_args(hint) if option is not type(None))
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise InputError(f"{where} must be one of {list(get_args(hint))}, got {value!r}")
        return value
    is_bool = isinstance(value, bool)
    if hint is float and isinstance(value, int | float) and not is_bool:
        return float(value)
    if not isinstance(value, hint) or (is_bool and hint is not bool):
        raise InputError(f"{where} must be of type {hint.__name__}, got {value!r}")
    return value
