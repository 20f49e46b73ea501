"""The recipes that a repair tries: what the configured one could be instead, cheap ones first."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from ptq_pipeline.core.canonical import canonical_hash
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.ptq import MethodConfig, PreparedModel, method_from_json
from ptq_pipeline.ptq.spec import MAX_BITS
from ptq_pipeline.routines.repair.parameters import RepairParameters

AS_IT_IS = "as it is"
# Around nearest rounding with the configured ranges: a second a draw.
CORRECTIONS: tuple[tuple[str, ...], ...] = (
    (),
    ("output_matching",),
    ("bias_correction",),
    ("batch_norm_reestimation",),
    ("cross_layer_equalization",),
    ("bias_correction", "output_matching"),
    ("batch_norm_reestimation", "output_matching"),
    ("cross_layer_equalization", "bias_correction", "output_matching"),
)
# With everything else that is changed.
MATCHED = ("output_matching",)
FEW_CORRECTIONS: tuple[tuple[str, ...], ...] = ((), MATCHED)
RANGES = ("minmax", "mse")
LEARNED = ("adaround_cpu", "brecq_cpu", "qdrop_cpu")


@dataclass(frozen=True)
class Variant:
    """One recipe of the search.

    Attributes:
        name: what it is called in tables.
        method: its method.
        size: bytes of its packed weights, scales and biases, see `packed_bytes`.
        calibration: what it changes of the parameter group ``calibration``.
    """

    name: str
    method: MethodConfig
    size: int
    calibration: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Hash of what it is, whatever its name."""
        return canonical_hash([self.method.to_json(), dict(self.calibration)])


def variants(
    prepared: PreparedModel,
    own: MethodConfig,
    calibration: Mapping[str, Any],
    parameters: RepairParameters,
) -> tuple[list[Variant], list[str]]:
    """Return the recipes in the order of their cost, the configured one first, and notes.

    Args:
        prepared: the model.
        own: the configured method.
        calibration: the configured parameter group ``calibration``.
        parameters: what may be tried.

    Raises:
        InputError: a constraint leaves no recipe, or names a layer that the model does not have.
    """
    _require_layers(prepared, parameters.eight_bits)
    no_norm = not prepared.folded_batch_norms
    notes = ["no batch norm was folded into a layer: re-estimation is left out"] * no_norm
    found: dict[str, Variant] = {}
    left_out: dict[str, str] = {}
    for name, values, drawing in _described(own, calibration, parameters):
        if "batch_norm_reestimation" in values.get("corrections", ()) and no_norm:
            continue
        try:
            method = method_from_json(_held(values, parameters.eight_bits))
        except InputError as error:
            left_out[name] = str(error)
            continue
        variant = Variant(name, method, packed_bytes(prepared, method), drawing)
        if parameters.max_bytes is None or variant.size <= parameters.max_bytes:
            found.setdefault(variant.key, variant)
        else:
            left_out[name] = f"{variant.size} bytes"
    if not found:
        name, reason = min(left_out.items(), key=lambda each: each[1])
        raise InputError(
            f"repair: no recipe meets the constraints max_bytes={parameters.max_bytes}, "
            f"eight_bits={list(parameters.eight_bits)}; '{name}' for example: {reason}. Loosen one "
            "of them in conf/base/parameters_repair.yml"
        )
    return list(found.values()), [*notes, *_said(left_out, parameters)]


def _said(left_out: Mapping[str, str], parameters: RepairParameters) -> Iterator[str]:
    own = {name: left_out[name] for name in parameters.recipes if name in left_out}
    yield from (f"'{name}' is left out: {reason}" for name, reason in own.items())
    if others := len(left_out) - len(own):
        yield f"{others} recipes are left out by the constraints"


def _described(
    own: MethodConfig, calibration: Mapping[str, Any], parameters: RepairParameters
) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Yield name, method and changes of ``calibration`` of every recipe."""
    yield AS_IT_IS, {"name": own.name, **own.to_json()}, {}
    bits = {"weight_bits": own.weight_bits, "activation_bits": own.activation_bits}
    ends = _ends(own)
    nearest = own.to_json() if own.name == "nearest" else bits
    for corrections in CORRECTIONS:
        yield _named("nearest", nearest, corrections, {})
    for weights, activations, corrections in product(RANGES, RANGES, FEW_CORRECTIONS):
        ranges = {"weight_range": weights, "activation_range": activations}
        yield _named("nearest", nearest | ranges, corrections, {})
    if own.name != "nearest":
        yield _named(own.name, own.to_json(), (*own.corrections, *MATCHED), {})
    for activations, corrections in product(RANGES, FEW_CORRECTIONS):
        yield _named("gptq", {**bits, "activation_range": activations}, corrections, {})
    for method, end in product(("nearest", "gptq"), ends):
        yield _named(method, nearest if method == "nearest" else bits, MATCHED, end)
    for change in _drawings(calibration):
        name, values, _ = _named("gptq", bits, MATCHED, {})
        yield f"{name}, {_listed(change)}", values, change
    learned = LEARNED if parameters.learned else ()
    for method, corrections in product(learned, FEW_CORRECTIONS):
        yield _named(method, bits, corrections, {})
    yield from ((name, dict(values), {}) for name, values in parameters.recipes.items())


def _ends(own: MethodConfig) -> list[dict[str, Any]]:
    """Return what may be done for the first and last layer of a model of few bits."""
    found: list[dict[str, Any]] = []
    if own.activation_bits < MAX_BITS:
        found.append({"first_input_8_bit": True})
    if min(own.weight_bits, own.activation_bits) < MAX_BITS:
        found.append({"first_last_8_bit": True})
    return found


def _drawings(calibration: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return other ways to draw calibration sets."""
    size = int(calibration.get("set_size", 256))
    changes: list[dict[str, Any]] = [{"set_size": 2 * size}]
    if calibration.get("strategy", "random") == "random":
        others = calibration.get("comparison_strategies") or ()
        left = [name for name in others if name != "class_balanced"]
        changes.append({"strategy": "class_balanced", "comparison_strategies": left})
    return changes


def _named(
    method: str, values: Mapping[str, Any], corrections: Sequence[str], ends: Mapping[str, Any]
) -> tuple[str, dict[str, Any], dict[str, Any]]:
    ranges = {
        f"{kind}s {values[key]}"
        for kind, key in (("weight", "weight_range"), ("activation", "activation_range"))
        if isinstance(values.get(key), str)
    }
    parts = [method, *sorted(ranges, reverse=True), *corrections, *ends]
    content = {**values, **ends, "name": method, "corrections": list(corrections)}
    return ", ".join(parts), content, {}


def _listed(change: Mapping[str, Any]) -> str:
    shown = {"set_size": "{} images", "strategy": "{} sets"}
    return ", ".join(text.format(change[key]) for key, text in shown.items() if key in change)


def _held(values: Mapping[str, Any], layers: Sequence[str]) -> dict[str, Any]:
    """Keep some layers at 8 bits."""
    if not layers:
        return dict(values)
    held = dict.fromkeys(layers, MAX_BITS)
    keys = ("layer_weight_bits", "layer_activation_bits")
    return {**values, **{key: {**values.get(key, {}), **held} for key in keys}}


def _require_layers(prepared: PreparedModel, layers: Sequence[str]) -> None:
    known = [layer.name for layer in prepared.layers]
    for name in layers:
        if name not in known:
            raise InputError(
                f"repair.eight_bits: the model has no layer '{name}'; its layers are "
                f"{', '.join(known)}"
            )


def packed_bytes(prepared: PreparedModel, method: MethodConfig) -> int:
    """Return the bytes of all weights at their bits, with scales and biases of 4 bytes a channel.

    Files that runtimes load today hold a byte a weight below 8 bits too; this is what a format that
    packs them needs.
    """
    names = [layer.name for layer in prepared.layers]
    bits: dict[str, int] = {}
    if getattr(method, "first_last_8_bit", False):
        bits = {names[0]: MAX_BITS, names[-1]: MAX_BITS}
    bits |= getattr(method, "layer_weight_bits", {})
    total = 0.0
    for layer in prepared.layers:
        weights = prepared.weight(layer.name).size
        total += weights * bits.get(layer.name, method.weight_bits) / 8
        total += 8 * layer.weight_shape[0]
    return round(total)
