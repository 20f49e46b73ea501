"""The registry of methods: by name, from this package and from others by an entry point.

A package offers a method under the entry-point group ``ptq_pipeline.methods``; the entry point's
name is the method's, and what it loads is a `RegisteredMethod`::

    [project.entry-points."ptq_pipeline.methods"]
    mine = "my_package.ptq:MINE"
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from importlib.metadata import entry_points
from typing import Any

from ptq_pipeline.core.canonical import canonical_hash
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.ptq.methods.config import Method
from ptq_pipeline.ptq.parameters import QuantizationParameters, WeightParameters
from ptq_pipeline.ptq.preparation import PreparedModel
from ptq_pipeline.ptq.quantizer import MAX_BITS, MIN_BITS
from ptq_pipeline.ptq.statistics import Batches

ENTRY_POINTS = "ptq_pipeline.methods"
ALL_BITS = tuple(range(MIN_BITS, MAX_BITS + 1))

# From model, calibration batches, configuration, seed and weights that are at hand.
Run = Callable[
    [PreparedModel, Batches, Any, int, Mapping[str, WeightParameters] | None],
    QuantizationParameters,
]


@dataclass(frozen=True)
class RegisteredMethod:
    """A method under a name.

    Attributes:
        name: in configurations and trials.
        paper: where it was published.
        summary: one line that says what it does.
        config: type of its configuration: a frozen dataclass with ``from_json`` and ``to_json``.
        run: does it.
        defaults: values of the configuration that are not the type's own, so that one type serves
            several presets.
        weight_bits: widths it supports.
        activation_bits: widths it supports.
    """

    name: str
    paper: str
    summary: str
    config: Any
    run: Run
    defaults: Mapping[str, Any] = field(default_factory=dict)
    weight_bits: tuple[int, ...] = ALL_BITS
    activation_bits: tuple[int, ...] = ALL_BITS

    def configure(self, values: Mapping[str, Any]) -> Method:
        """Return the configuration that ``values`` and this method's defaults make.

        Raises:
            InputError: a key or value is not supported, or the method does not have these bits.
        """
        method: Method = self.config.from_json({**self.defaults, **values, "name": self.name})
        for key in ("weight_bits", "activation_bits"):
            allowed = getattr(self, key)
            if getattr(method, key) not in allowed:
                raise InputError(
                    f"method {self.name}: {key} must be one of {list(allowed)}, got "
                    f"{getattr(method, key)}"
                )
        return method

    def options(self) -> dict[str, Any]:
        """Return every option with its default, also those that its JSON form leaves out."""
        configured = self.configure({})
        values = {part.name: getattr(configured, part.name) for part in fields(self.config)}
        return {
            key: value for key, value in (values | configured.to_json()).items() if key != "name"
        }


_METHODS: dict[str, RegisteredMethod] = {}
# Adapters to other tools, imported when they are asked for: they need packages of their own.
_ADAPTERS = {
    "onnxruntime_static": "ptq_pipeline.adapters.onnxruntime_static",
    "nncf": "ptq_pipeline.adapters.nncf",
}


def register(method: RegisteredMethod) -> RegisteredMethod:
    """Register a method and return it.

    Raises:
        InputError: the name is taken by another method.
    """
    if _METHODS.setdefault(method.name, method) is not method:
        raise InputError(f"method {method.name!r} is registered already")
    return method


def method_names() -> list[str]:
    """Return the names of all methods, those of other installed packages last."""
    plugins = [point.name for point in entry_points(group=ENTRY_POINTS)]
    return list(dict.fromkeys([*_METHODS, *_ADAPTERS, *sorted(plugins)]))


def find_method(name: str) -> RegisteredMethod:
    """Return a registered method, loading the package that brings it.

    Raises:
        InputError: there is none of that name, or the package that brings it is broken.
    """
    if name in _ADAPTERS and name not in _METHODS:
        importlib.import_module(_ADAPTERS[name])
    if name in _METHODS:
        return _METHODS[name]
    points = list(entry_points(group=ENTRY_POINTS, name=name))
    if not points:
        raise InputError(f"method: unknown name {name!r}; allowed are {sorted(method_names())}")
    try:
        found = points[0].load()
    except Exception as error:  # a plug-in may fail with anything
        raise InputError(
            f"method {name!r} cannot be loaded from {points[0].value!r}: "
            f"{type(error).__name__}: {error}"
        ) from error
    if not isinstance(found, RegisteredMethod) or found.name != name:
        raise InputError(
            f"method {name!r}: {points[0].value!r} must be a RegisteredMethod of that name, got "
            f"{found!r}"
        )
    return register(found)


def method_from_json(values: Mapping[str, Any]) -> Method:
    """Build a method's configuration from plain values.

    Args:
        values: ``name`` and the method's options; without a name it is ``nearest``.

    Raises:
        InputError: the name, a key or a value is unknown or not supported.
    """
    options = dict(values)
    name = options.pop("name", "nearest")
    return find_method(str(name)).configure(options)


def quantize_model(
    prepared: PreparedModel,
    batches: Batches,
    method: Method,
    *,
    seed: int,
    weights: Mapping[str, WeightParameters] | None = None,
) -> QuantizationParameters:
    """Quantize a model by any registered method: the one way from a method to parameters.

    Args:
        prepared: the model; not changed, and not safe to use from several threads at once.
        batches: float32 ``(n, C, H, W)`` tensors, or a function that starts a new pass over them.
        method: a method's configuration.
        seed: of everything random in the method; equal seeds give equal parameters.
        weights: result of `quantize_weights` for the same model and method, when it is at hand;
            used by methods that are ``reducible``.

    Raises:
        InputError: the images or the model do not suit the method.
    """
    return find_method(method.name).run(prepared, batches, method, seed, weights)


def method_seed(
    model: str, method: Method | None, calibration_set: str | None, repeat: int = 0
) -> int:
    """Return the seed of a method: equal wherever the same model is quantized in the same way.

    Runtime and evaluation do not enter, so the parity check and the exported model get the very
    integers of the trial.

    Args:
        model: fingerprint of the float model.
        method: the method; None for the float model.
        calibration_set: id of the calibration set.
        repeat: number of the seed, to see what the seed alone changes.
    """
    content: dict[str, Any] = {
        "model": model,
        "method": None if method is None else method.to_json(),
        "calibration_set": calibration_set,
    }
    if repeat:
        content["repeat"] = repeat
    return int(canonical_hash(content)[:15], 16)
