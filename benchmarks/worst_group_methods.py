"""Methods that look at the worst group, as plug-ins: each beside its plain form.

Groups are the classes that the float model predicts on the calibration images, so no label is
needed. `worst_group_study.py` compares them; what helped moves to the package, the rest stays here.

*Minimax ranges*: of the shares of an input's range the one that minimises the largest error of a
group relative to the least that any share gives this group, ``min_c max_g E_g(c) / min_c' E_g(c')``
with ``E_g(c)`` the squared rounding error of the group's images. Plain: ``min_c sum_g E_g(c)``.

*Weighted GPTQ*: ``H = sum_g w_g X_g X_g^T``, with whole weights: images of a group count w_g times.

*Group-DRO rounding* (Sagawa et al., ICLR 2020, arXiv 1911.08731, on layer errors): AdaRound on
``sum_g q_g r_g`` with ``r_g = e_g / e_g(nearest)``; each step multiplies q_g by ``exp(rate r_g)``,
and a share ``floor`` of the weight is always spread evenly.

*Coverage*: some of the images that are given, chosen greedily so that the largest value of every
(group, channel) of every layer's input is reached: within a group the sum over channels of ``max_{i
in S} x_ic / max_i x_ic``, which is monotone and submodular (greedy is within 1 - 1/e of the best,
Nemhauser et al., 1978). Plain: the first ones.

*Shrunk corrections*: scales and biases between those without and with a correction,
``share`` of the way, so that a biased set moves them less.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from ptq_pipeline.ptq import (
    ActivationParameters,
    MethodConfig,
    MethodSpec,
    PreparedModel,
    QuantizationParameters,
    combine,
    quantize_weights,
)
from ptq_pipeline.ptq.calibration import calibrate
from ptq_pipeline.ptq.corrections import correct_rounded
from ptq_pipeline.ptq.methods import RegisteredMethod, find_method, register
from ptq_pipeline.ptq.quantizer import IntegerScheme, choose_qparams
from ptq_pipeline.ptq.ranges import SHARES, Mse
from ptq_pipeline.ptq.reconstruction import procedure
from ptq_pipeline.ptq.reconstruction.learning import UnitLearning
from ptq_pipeline.ptq.reconstruction.units import IMAGES_AT_A_TIME
from ptq_pipeline.ptq.statistics import (
    Batches,
    InputStatistics,
    collect_statistics,
    observe_inputs,
)

BATCH = 32
TINY = 1e-12


def all_images(batches: Batches) -> Tensor:
    """Return the calibration images as one tensor."""
    return torch.cat([*(batches() if callable(batches) else batches)])


@torch.no_grad()
def predicted(prepared: PreparedModel, images: Tensor) -> Tensor:
    """Return the classes that the float model predicts, int64 ``(n,)``."""
    parts = [prepared.module(part).argmax(1) for part in images.split(IMAGES_AT_A_TIME)]
    return torch.cat(parts)


@dataclass(frozen=True, kw_only=True)
class WithoutSeed(MethodConfig):
    """A method in which nothing is random."""

    @property
    def uses_seed(self) -> bool:
        """Whether the draw's seed changes the result."""
        return False


@dataclass(frozen=True, kw_only=True)
class GroupRanges(WithoutSeed):
    """Nearest rounding with `mse` weights and input ranges by one of two criteria."""

    criterion: Literal["mean", "minimax"] = "minimax"
    first_last_8_bit: bool = False
    first_input_8_bit: bool = False


def group_ranges(
    prepared: PreparedModel, batches: Batches, config: GroupRanges, seed: int, weights: Any = None
) -> QuantizationParameters:
    """Quantize with ranges chosen over groups."""
    images = all_images(batches)
    groups = predicted(prepared, images)
    spec = MethodSpec(
        weight_bits=config.weight_bits,
        activation_bits=config.activation_bits,
        weight_range=Mse(),
        first_last_8_bit=config.first_last_8_bit,
        first_input_8_bit=config.first_input_8_bit,
    )
    of_layers = spec.of_layers([layer.name for layer in prepared.layers])
    seen = [
        collect_statistics(prepared, images[groups == group].split(BATCH), True)
        for group in groups.unique()
    ]
    chosen = {
        name: _input(
            [each[name] for each in seen], of_layers.activation_scheme_of(name), config.criterion
        )
        for name in seen[0]
    }
    return combine(quantize_weights(prepared, spec), chosen)


def _input(
    seen: list[InputStatistics], scheme: IntegerScheme, criterion: str
) -> ActivationParameters:
    lows, highs = _candidates(seen)
    errors = torch.stack([_errors(each, lows, highs, scheme) for each in seen])
    if criterion == "minimax":
        least = errors.amin(1, keepdim=True).clamp(min=TINY)
        best = int((errors / least).amax(0).argmin())
    else:
        best = int(errors.sum(0).argmin())
    qparams = choose_qparams(lows[best], highs[best], scheme)
    all_zero = all(each.minimum == 0.0 == each.maximum for each in seen)
    return ActivationParameters(
        float(qparams.scale), int(qparams.zero_point), scheme, all_zero=all_zero
    )


def easiest_decides(
    prepared: PreparedModel, images: Tensor, bits: int
) -> tuple[list[bool], list[float]]:
    """Return for each layer whether minimax follows the group that quantizes with the least error.

    And what the error of all images grows to, as a factor. First and last layer have 8 bits.
    """
    groups = predicted(prepared, images)
    sets = [images[groups == group] for group in groups.unique()]
    seen = [collect_statistics(prepared, each.split(BATCH), True) for each in sets]
    method = MethodSpec(activation_bits=bits, first_last_8_bit=True)
    method = method.of_layers([layer.name for layer in prepared.layers])
    easiest, growth = [], []
    for name in seen[0]:
        of_layer = [each[name] for each in seen]
        lows, highs = _candidates(of_layer)
        scheme = method.activation_scheme_of(name)
        errors = torch.stack([_errors(each, lows, highs, scheme) for each in of_layer])
        relative = errors / errors.amin(1, keepdim=True).clamp(min=TINY)
        chosen, plain = int(relative.amax(0).argmin()), int(errors.sum(0).argmin())
        least = errors.amin(1) / torch.tensor([len(each) for each in sets])
        easiest.append(int(relative[:, chosen].argmax()) == int(least.argmin()))
        growth.append(float(errors[:, chosen].sum() / errors[:, plain].sum().clamp(min=TINY)))
    return easiest, growth


def _candidates(seen: list[InputStatistics]) -> tuple[Tensor, Tensor]:
    low, high = min(each.minimum for each in seen), max(each.maximum for each in seen)
    return min(low, 0.0) * SHARES, max(high, 0.0) * SHARES


def _errors(seen: InputStatistics, lows: Tensor, highs: Tensor, scheme: IntegerScheme) -> Tensor:
    """Return the squared error of each candidate, ``(candidates,)``."""
    assert seen.histogram is not None
    hit = seen.histogram.counts > 0
    values = torch.from_numpy(seen.histogram.grid.centers[hit])
    counts = torch.from_numpy(seen.histogram.counts[hit]).double()
    qparams = choose_qparams(lows, highs, scheme)
    scale, zero = qparams.scale.double()[:, None], qparams.zero_point.double()[:, None]
    codes = (torch.round(values / scale) + zero).clamp(scheme.qmin, scheme.qmax)
    return ((codes - zero) * scale - values).square() @ counts


@dataclass(frozen=True, kw_only=True)
class WeightedGptq(WithoutSeed):
    """GPTQ in which images of some classes count several times.

    Attributes:
        times: by number of the class, as text; others count once.
    """

    times: Mapping[str, int] = field(default_factory=dict)
    first_last_8_bit: bool = False


def weighted_gptq(
    prepared: PreparedModel, batches: Batches, config: WeightedGptq, seed: int, weights: Any = None
) -> QuantizationParameters:
    """Run GPTQ on images that are repeated; ranges are those of the set, which repeats keep."""
    images = all_images(batches)
    groups = predicted(prepared, images)
    times = torch.tensor([config.times.get(str(int(group)), 1) for group in groups])
    bits = {key: getattr(config, key) for key in ("weight_bits", "activation_bits")}
    gptq = find_method("gptq").configure(bits | {"first_last_8_bit": config.first_last_8_bit})
    repeated = images.repeat_interleave(times, 0)
    return procedure.reconstruct(prepared, repeated.split(BATCH), gptq, seed)


@dataclass(frozen=True, kw_only=True)
class GroupDro(MethodConfig):
    """AdaRound in few large steps on the worst groups' errors.

    Attributes:
        rate: of the exponentiated gradient.
        floor: share of the weight that is always spread evenly.
    """

    rate: float = 0.05
    floor: float = 0.2
    first_last_8_bit: bool = False


class _GroupDroLearning(UnitLearning):
    """The learning of a unit whose groups have weights."""

    groups: ClassVar[Tensor]
    settings: ClassVar[GroupDro]

    def objective(self) -> float:
        """Return the plain error; the first one, of nearest rounding, is what others relate to."""
        if not hasattr(self, "base"):
            with torch.no_grad():
                rows = torch.arange(len(self.inputs)).split(IMAGES_AT_A_TIME)
                each = torch.cat([self._by_image(self.inputs[r], r, 2.0) for r in rows])
            count = torch.bincount(self.groups).clamp(min=1)
            sums = torch.zeros(len(count)).index_add_(0, self.groups, each)
            self.base = (sums / count).clamp(min=TINY)
            self.weights = (torch.bincount(self.groups) > 0).float()
            self.weights /= self.weights.sum()
        return super().objective()

    def _by_image(self, inputs: Tensor, chosen: Tensor, power: float) -> Tensor:
        result = self.unit.run(self.model.root, inputs)
        error = (result - self.targets[chosen]).abs().pow(power)
        return error.sum(1).reshape(len(chosen), -1).mean(1)

    def _loss(self, inputs: Tensor, chosen: Tensor, power: float) -> Tensor:
        if not torch.is_grad_enabled():
            return super()._loss(inputs, chosen, power)
        each, groups = self._by_image(inputs, chosen, power), self.groups[chosen]
        count = torch.bincount(groups, minlength=len(self.base))
        sums = torch.zeros(len(count)).index_add_(0, groups, each)
        relative = sums / count.clamp(min=1) / self.base
        there = count > 0
        with torch.no_grad():
            grown = self.weights * torch.exp(self.settings.rate * relative.detach())
            self.weights = grown / grown.sum()
        even = there / there.sum()
        own = self.weights * there / (self.weights * there).sum()
        shares = (1 - self.settings.floor) * own + self.settings.floor * even
        return (shares * relative).sum() * (even * self.base).sum()


def group_dro(
    prepared: PreparedModel, batches: Batches, config: GroupDro, seed: int, weights: Any = None
) -> QuantizationParameters:
    """Run AdaRound's CPU preset with group weights."""
    images = all_images(batches)
    bound = {"groups": predicted(prepared, images), "settings": config}
    learning = type("Bound", (_GroupDroLearning,), bound)
    bits = {key: getattr(config, key) for key in ("weight_bits", "activation_bits")}
    plain = find_method("adaround_cpu").configure(
        bits | {"first_last_8_bit": config.first_last_8_bit}
    )
    with patch.object(procedure, "UnitLearning", learning):
        return procedure.reconstruct(prepared, images.split(BATCH), plain, seed)


@dataclass(frozen=True, kw_only=True)
class Chosen(WithoutSeed):
    """Nearest rounding with min-max inputs, on some of the images that it is given.

    Attributes:
        images: how many it takes.
        by: ``coverage``, or ``order``: the first ones.
    """

    images: int = 256
    by: Literal["order", "coverage"] = "coverage"
    first_last_8_bit: bool = False


def chosen_images(
    prepared: PreparedModel, batches: Batches, config: Chosen, seed: int, weights: Any = None
) -> QuantizationParameters:
    """Quantize with the chosen images."""
    images = all_images(batches)
    if config.by == "coverage":
        largest = _largest_inputs(prepared, images)
        images = images[covering(largest, predicted(prepared, images), config.images)]
    spec = MethodSpec(
        weight_bits=config.weight_bits,
        activation_bits=config.activation_bits,
        weight_range=Mse(),
        first_last_8_bit=config.first_last_8_bit,
    )
    return calibrate(prepared, images[: config.images].split(BATCH), spec)


def _largest_inputs(prepared: PreparedModel, images: Tensor) -> Tensor:
    """Return the largest value of each channel of each layer's input, ``(n, channels)``."""
    found: dict[str, list[Tensor]] = {}

    def keep(name: str, values: Tensor) -> None:
        found.setdefault(name, []).append(values.flatten(2).amax(2) if values.ndim > 2 else values)

    observe_inputs(prepared, images.split(BATCH), keep)
    return torch.cat([torch.cat(parts) for parts in found.values()], 1).clamp(min=0.0)


def covering(largest: Tensor, groups: Tensor, count: int) -> Tensor:
    """Return the rows of ``count`` images, greedily, the groups in turn."""
    taken: list[int] = []
    rows = {int(group): torch.nonzero(groups == group)[:, 0] for group in groups.unique()}
    reached = {group: torch.zeros(largest.shape[1]) for group in rows}
    ceiling = {group: largest[own].amax(0).clamp(min=TINY) for group, own in rows.items()}
    while len(taken) < count:
        for group, own in list(rows.items()):
            if not len(own) or len(taken) == count:
                continue
            gain = torch.relu(largest[own] - reached[group]) / ceiling[group]
            best = int(gain.sum(1).argmax())
            reached[group] = torch.maximum(reached[group], largest[own[best]])
            taken.append(int(own[best]))
            rows[group] = torch.cat([own[:best], own[best + 1 :]])
    return torch.tensor(sorted(taken))


@dataclass(frozen=True, kw_only=True)
class Shrunk(WithoutSeed):
    """Nearest rounding with one correction, applied a share of the way."""

    correction: str = "batch_norm_reestimation"
    share: float = 0.5


def shrunk(
    prepared: PreparedModel, batches: Batches, config: Shrunk, seed: int, weights: Any = None
) -> QuantizationParameters:
    """Quantize without and with the correction, and go a share of the way between the two."""
    images = all_images(batches)
    spec = MethodSpec(weight_bits=config.weight_bits, activation_bits=config.activation_bits)
    plain = calibrate(prepared, images.split(BATCH), spec)
    full = correct_rounded(prepared, plain, images, (config.correction,))
    layers = {}
    for name, layer in full.layers.items():
        before = plain.layers[name].weight.scale
        scale = before + config.share * (layer.weight.scale - before)
        layers[name] = replace(layer, weight=replace(layer.weight, scale=scale.astype(np.float32)))
    biases = {}
    for name, bias in full.overrides.items():
        own = prepared.layer_module(name.removesuffix(".bias")).bias
        before = 0.0 * bias if own is None else own.detach().numpy()
        biases[name] = (before + config.share * (bias - before)).astype(np.float32)
    return replace(full, layers=layers, overrides=biases)


METHODS = {
    "group_ranges": (GroupRanges, group_ranges),
    "weighted_gptq": (WeightedGptq, weighted_gptq),
    "group_dro": (GroupDro, group_dro),
    "chosen_images": (Chosen, chosen_images),
    "shrunk_correction": (Shrunk, shrunk),
}


def register_all() -> None:
    """Make the methods known by their names, as a package's entry points would."""
    for name, (config, run) in METHODS.items():
        register(RegisteredMethod(name, "benchmarks", "looks at the worst group", config, run))
