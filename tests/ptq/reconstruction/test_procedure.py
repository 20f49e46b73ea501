import subprocess
import sys
import weakref

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.ptq import PreparedModel, method_from_json, prepare, quantize_model
from ptq_pipeline.ptq.reconstruction.learning import UnitLearning
from ptq_pipeline.ptq.reconstruction.procedure import nearest_of, starting_point
from ptq_pipeline.ptq.reconstruction.units import partition
from ptq_pipeline.runtimes import SimulatedRuntime

TINY = {"iterations": 4, "activation_iterations": 4, "batch_size": 8}
LOW = {"weight_bits": 2, "activation_bits": 4}
CHAIN = """
import sys, torch
from pathlib import Path
from torch import nn
from ptq_pipeline.models.architectures import BasicBlock
from ptq_pipeline.ptq import method_from_json, prepare, quantize_model

torch.set_num_threads(1)
images = torch.rand(256, 1, 28, 28)
blocks = [BasicBlock(16, 16, 1) for _ in range(int(sys.argv[1]))]
head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 3)]
model = prepare(nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), *blocks, *head).eval(), images[:2])
method = method_from_json({"name": "qdrop", "weight_bits": 4, "iterations": 2})
def kib(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key))
Path("/proc/self/clear_refs").write_text("5")  # the peak of the imports is forgotten
before = kib("VmRSS")
quantize_model(model, images.split(64), method, seed=0)
print(kib("VmHWM") - before)
"""


def _quantized(prepared: PreparedModel, images: Tensor, seed: int = 3, **values):
    method = method_from_json({**LOW, **TINY, **values})
    return quantize_model(prepared, [images[:7], images[7:19]], method, seed=seed)


def _same(a, b) -> bool:
    left, right = a.to_arrays(), b.to_arrays()
    return left.keys() == right.keys() and all(np.array_equal(left[k], right[k]) for k in left)


@pytest.mark.parametrize("name", ["gptq", "adaround", "brecq", "qdrop"])
def test_a_run_is_a_function_of_its_seed(
    prepared: PreparedModel, images: Tensor, name: str
) -> None:
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    values = {} if name != "gptq" else {"iterations": 0}
    first = _quantized(prepared, images, name=name, **values)
    assert _same(first, _quantized(prepared, images, name=name, **values))
    if name == "qdrop":
        assert not _same(first, _quantized(prepared, images, seed=4, name=name))
    assert torch.equal(before[0], torch.random.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])
    assert not prepared.module.training
    assert set(first.layers) == {layer.name for layer in prepared.layers}
    logits = SimulatedRuntime().compile(prepared, first)(images[:4].numpy())
    assert np.isfinite(logits).all()


def test_block_output_quantizes_once_for_next_layer_and_residual(
    prepared: PreparedModel, images: Tensor
) -> None:
    found = _quantized(prepared, images, name="qdrop")
    assert list(found.outputs) == ["relu", *(f"blocks.{i}" for i in range(9))]
    assert found.layers["blocks.1.conv1"].activation is None
    assert found.layers["blocks.1.conv2"].activation is not None
    assert found.outputs["blocks.0"].scheme.bits == 4
    assert found.outputs["blocks.8"].scheme.bits == 8
    for name in ("conv1", "classifier"):
        layer = found.layers[name]
        assert layer.weight.scheme.bits == layer.activation.scheme.bits == 8
    assert not found.layers["blocks.1.conv1"].weight.scheme.symmetric


@pytest.mark.parametrize(
    "values",
    [
        {"name": "brecq", "objective": "fisher_diag"},
        {"name": "qdrop", "placement": "layer_input", "first_last_8_bit": False},
        {"name": "adaround", "initial": "second_order", "annealing": "linear"},
    ],
)
def test_options_run(prepared: PreparedModel, images: Tensor, values: dict) -> None:
    found = _quantized(prepared, images, **values)
    assert len(found.layers) == len(prepared.layers)


@pytest.mark.parametrize("name", ["adaround", "qdrop"])
def test_what_learning_makes_worse_stays_nearest_and_is_noted(
    prepared: PreparedModel, images: Tensor, name: str
) -> None:
    values = {"name": name, "rounding_lr": 50.0, "regularization": 0.0, "iterations": 1}
    found = _quantized(prepared, images, **values)
    method = method_from_json({**LOW, **TINY, **values})
    units, _ = partition(prepared, method.unit == "block")
    nearest = starting_point(prepared, images[:19], units, method)
    kept = [unit for unit in units if any(f"{unit.name!r}" in note for note in found.notes)]
    assert kept and len(kept) == len(found.notes)
    for unit in kept:
        for layer in unit.layers:
            np.testing.assert_array_equal(
                found.layers[layer].weight.codes, nearest.layers[layer].weight.codes
            )


def test_every_unit_is_at_least_as_good_as_nearest_on_its_objective(
    prepared: PreparedModel, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[float] = []
    original = UnitLearning.objective
    monkeypatch.setattr(
        UnitLearning, "objective", lambda self: seen.append(original(self)) or seen[-1]
    )
    found = _quantized(prepared, images, name="qdrop", iterations=20, rounding_lr=0.05)
    pairs = list(zip(seen[::2], seen[1::2], strict=True))
    assert len(pairs) == 11
    assert sum(reached > nearest for nearest, reached in pairs) == len(found.notes)
    assert np.mean([reached / nearest for nearest, reached in pairs]) < 0.95


def test_only_one_unit_is_cached_at_a_time(
    prepared: PreparedModel, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[weakref.ref] = []
    original = UnitLearning.of

    def cache(*args):
        assert all(old() is None for old in made)
        found = original(*args)
        made.append(weakref.ref(found))
        return found

    monkeypatch.setattr(UnitLearning, "of", cache)
    _quantized(prepared, images, name="qdrop", iterations=1)
    assert len(made) == 11


def test_second_order_rounding_has_less_error_than_nearest() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        module = nn.Sequential(nn.Flatten(), nn.Linear(16, 8)).eval()
        mixed = torch.randn(256, 16) @ torch.randn(16, 16)
    images = mixed.reshape(256, 1, 4, 4)
    model = prepare(module, images[:2])
    errors = {}
    for name in ("gptq", "nearest"):
        method = method_from_json({"name": "gptq", "weight_bits": 3})
        chosen = method if name == "gptq" else nearest_of(model, method)
        layer = quantize_model(model, [images], chosen, seed=0).layers["1"]
        wanted = mixed @ torch.from_numpy(model.weight("1")).T
        got = mixed @ torch.from_numpy(layer.weight.dequantized()).T
        errors[name] = float((got - wanted).square().mean())
    assert errors["gptq"] < 0.7 * errors["nearest"]


def test_what_the_closed_form_does_not_cover_is_noted() -> None:
    class Lines(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.out = nn.Conv1d(1, 2, 3), nn.Linear(2 * 14, 3)

        def forward(self, x):
            return self.out(self.conv(x.flatten(2)).flatten(1))

    model = prepare(Lines().eval(), torch.rand(2, 1, 4, 4))
    found = _quantized(model, torch.rand(19, 1, 4, 4), name="gptq", iterations=0)
    assert [note.split(":")[0] for note in found.notes] == ["layer 'conv'"]


def test_fewer_images_than_a_batch_is_an_error(prepared: PreparedModel, images: Tensor) -> None:
    with pytest.raises(InputError, match="qdrop: a batch takes 32 images .* has 19; use more"):
        _quantized(prepared, images, name="qdrop", batch_size=32)


@pytest.mark.parametrize("name", ["adaround", "brecq", "qdrop"])
@pytest.mark.parametrize("constant", [0.0, 1.5])
def test_constant_images_have_a_result(prepared: PreparedModel, name: str, constant: float) -> None:
    found = _quantized(prepared, torch.full((19, 1, 28, 28), constant), name=name, iterations=2)
    for layer in found.layers.values():
        assert np.isfinite(layer.weight.scale).all()
        assert layer.activation is None or np.isfinite(layer.activation.scale)


def test_a_layer_that_runs_twice_keeps_nearest_and_is_noted() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 1, 3, padding=1)
            self.out = nn.Linear(16, 3)

        def forward(self, x):
            small = torch.nn.functional.avg_pool2d(self.conv(x), 2)
            return self.out(self.conv(small).flatten(1))

    model = prepare(Twice().eval(), torch.rand(2, 1, 8, 8))
    found = _quantized(model, torch.rand(19, 1, 8, 8), name="qdrop")
    assert any("'conv' runs more than once" in note for note in found.notes)
    assert set(found.layers) == {"conv", "out"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"iterations": -1}, "iterations must be at least 0, got -1"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"rounding_lr": 0}, "rounding_lr must be positive"),
        ({"keep_quantized_probability": 1.5}, "keep_quantized_probability must be from 0 to 1"),
        ({"regularization": -1}, "regularization must not be negative"),
        ({"drop_prob": 0.5}, "unknown key 'drop_prob'; allowed are"),
        ({"weight_bits": 9}, "weight_bits: bits must be from 2 to 8"),
    ],
)
def test_bad_configurations(values: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        method_from_json({"name": "qdrop", **values})


@pytest.mark.slow
def test_peak_memory_grows_with_one_block_and_not_with_their_number() -> None:
    def grown(blocks: int) -> int:
        """Return the KiB by which the peak grows while a chain of equal blocks is reconstructed."""
        done = subprocess.run(
            [sys.executable, "-c", CHAIN, str(blocks)], capture_output=True, text=True, check=True
        )
        return int(done.stdout)

    few, many = grown(2), grown(10)
    # Of one block are cached: its input, its float input and its target.
    one = 3 * 256 * 16 * 28 * 28 * 4 / 1024
    assert one < few and many < few + one
