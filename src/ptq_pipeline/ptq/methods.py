"""Methods by name: those of this package, and others that packages bring by an entry point.

A package offers a method under the entry-point group ``ptq_pipeline.methods``; the entry point's
name is the method's, and what it loads is a `RegisteredMethod`::

    [project.entry-points."ptq_pipeline.methods"]
    mine = "my_package.ptq:MINE"
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from importlib.metadata import entry_points
from typing import Any

import torch

from ptq_pipeline.core.canonical import canonical_hash
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.ptq.calibration import calibrate
from ptq_pipeline.ptq.corrections import corrected
from ptq_pipeline.ptq.parameters import QuantizationParameters, WeightParameters
from ptq_pipeline.ptq.preparation import PreparedModel
from ptq_pipeline.ptq.quantizer import MAX_BITS, MIN_BITS
from ptq_pipeline.ptq.reconstruction.config import Reconstruction
from ptq_pipeline.ptq.reconstruction.procedure import reconstruct
from ptq_pipeline.ptq.spec import MethodConfig, MethodSpec
from ptq_pipeline.ptq.statistics import Batches

ENTRY_POINTS = "ptq_pipeline.methods"
CALIBRATION_BATCH = 32
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
        config: type of its configuration.
        run: does it.
        defaults: of the configuration, instead of its type's: one type serves several presets.
        weight_bits: widths it supports.
        activation_bits: widths it supports.
        example: options without which there is no such method, for a listing.
    """

    name: str
    paper: str
    summary: str
    config: type[MethodConfig]
    run: Run
    defaults: Mapping[str, Any] = field(default_factory=dict)
    weight_bits: tuple[int, ...] = ALL_BITS
    activation_bits: tuple[int, ...] = ALL_BITS
    example: Mapping[str, Any] = field(default_factory=dict)

    def configure(self, values: Mapping[str, Any]) -> MethodConfig:
        """Return the configuration that ``values`` and this method's defaults make.

        Raises:
            InputError: a key or value is not supported, or the method does not have these bits.
        """
        method = self.config.from_json({**self.defaults, **values, "name": self.name})
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
        configured = self.configure(self.example)
        values = {part.name: getattr(configured, part.name) for part in fields(self.config)}
        return {
            key: value for key, value in (values | configured.to_json()).items() if key != "name"
        }


_METHODS: dict[str, RegisteredMethod] = {}


def register(method: RegisteredMethod) -> RegisteredMethod:
    """Register a method and return it.

    Raises:
        InputError: the name is taken by another method.
    """
    if _METHODS.setdefault(method.name, method) is not method:
        raise InputError(f"method {method.name!r} is registered already")
    return method


def method_names() -> list[str]:
    """Return the names of all methods, those of entry points last."""
    return list(
        dict.fromkeys(
            [*_METHODS, *sorted(point.name for point in entry_points(group=ENTRY_POINTS))]
        )
    )


def find_method(name: str) -> RegisteredMethod:
    """Return a registered method, loading the package that brings it.

    Raises:
        InputError: there is none of that name, or the package that brings it is broken.
    """
    if name in _METHODS:
        return _METHODS[name]
    # Nobody takes the name of one of ours.
    points = sorted(
        entry_points(group=ENTRY_POINTS, name=name),
        key=lambda point: not point.value.startswith("ptq_pipeline."),
    )
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


def method_from_json(values: Mapping[str, Any]) -> MethodConfig:
    """Build a method's configuration from its ``name``, ``nearest`` when left out, and options.

    Raises:
        InputError: the name, a key or a value is unknown or not supported.
    """
    options = dict(values)
    return find_method(str(options.pop("name", "nearest"))).configure(options)


def quantize_model(
    prepared: PreparedModel,
    batches: Batches,
    method: MethodConfig,
    *,
    seed: int,
    weights: Mapping[str, WeightParameters] | None = None,
) -> QuantizationParameters:
    """Quantize a model by any registered method: the one way from a method to parameters.

    Corrections that the method names go around it, see `ptq_pipeline.ptq.corrections`.

    Args:
        prepared: the model; not changed, and not safe to use from several threads at once.
        batches: float32 ``(n, C, H, W)`` tensors, or a function that starts a new pass over them.
        method: a method's configuration.
        seed: of everything random in the method; equal seeds give equal parameters.
        weights: of `quantize_weights`, for methods that are ``reducible``.

    Raises:
        InputError: the images or the model do not suit the method.
    """
    run = find_method(method.name).run
    if not method.corrections:
        return run(prepared, batches, method, seed, weights)
    images = torch.cat([*(batches() if callable(batches) else batches)]).to(prepared.device)
    return corrected(
        lambda model, chosen: run(model, chosen.split(CALIBRATION_BATCH), method, seed, None),
        prepared,
        images,
        method,
    )


def method_seed(
    model: str, method: MethodConfig | None, calibration_set: str | None, repeat: int = 0
) -> int:
    """Return the seed of a method: equal wherever the same model is quantized in the same way.

    Runtime and evaluation do not enter, so the parity check and the exported model get the very
    integers of the trial. ``repeat`` numbers seeds, to see what the seed alone changes; ``method``
    is None for the float model.
    """
    content: dict[str, Any] = {
        "model": model,
        "method": None if method is None else method.to_json(),
        "calibration_set": calibration_set,
    }
    if repeat:
        content["repeat"] = repeat
    return int(canonical_hash(content)[:15], 16)


def _nearest(
    prepared: PreparedModel,
    batches: Batches,
    method: MethodSpec,
    seed: int,
    weights: Mapping[str, WeightParameters] | None = None,
) -> QuantizationParameters:
    return calibrate(prepared, batches, method, weights)


register(
    RegisteredMethod(
        name="nearest",
        paper="Jacob et al., CVPR 2018 (arXiv 1712.05877)",
        summary="ranges by an estimator, weights to the nearest code",
        config=MethodSpec,
        run=_nearest,
    )
)

ADAROUND: dict[str, Any] = {
    "unit": "layer",
    "placement": "layer_input",
    "activations": "range",
    "iterations": 10_000,
    "weight_symmetric": True,
    "first_last_8_bit": False,
    "annealing": "cosine",
}
GPTQ: dict[str, Any] = ADAROUND | {"initial": "second_order", "iterations": 0}
BRECQ: dict[str, Any] = {"activations": "after", "step_lr": 4e-4}
QDROP: dict[str, Any] = {"activations": "joint", "step_lr": 4e-5}
# For machines without a GPU.
CPU: dict[str, Any] = {"iterations": 200, "rounding_lr": 3e-2}
FAST = ", in few large steps"

PAPERS = {
    "gptq": "Frantar et al., ICLR 2023 (arXiv 2210.17323)",
    "adaround": "Nagel et al., ICML 2020 (arXiv 2004.10568)",
    "brecq": "Li et al., ICLR 2021 (arXiv 2102.05426)",
    "qdrop": "Wei et al., ICLR 2022 (arXiv 2203.05740)",
}
SUMMARIES = {
    "gptq": "second-order rounding in closed form, layer by layer",
    "adaround": "learned rounding, layer by layer",
    "brecq": "learned rounding, block by block, then learned activation scales",
    "qdrop": "learned rounding and activation scales, activations randomly left in float",
}

for _name, _defaults in {
    "gptq": GPTQ,
    "adaround": ADAROUND,
    "brecq": BRECQ,
    "qdrop": QDROP,
    "adaround_cpu": ADAROUND | CPU,
    "brecq_cpu": BRECQ | CPU | {"activation_iterations": 100, "step_lr": 4e-3},
    "qdrop_cpu": QDROP | CPU | {"step_lr": 1e-3},
}.items():
    _origin = _name.removesuffix("_cpu")
    register(
        RegisteredMethod(
            name=_name,
            paper=PAPERS[_origin],
            summary=SUMMARIES[_origin] + ("" if _name == _origin else FAST),
            config=Reconstruction,
            run=reconstruct,
            defaults=_defaults,
        )
    )
