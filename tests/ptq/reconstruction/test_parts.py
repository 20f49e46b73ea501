import numpy as np
import pytest
import torch
from torch import nn

from ptq_pipeline.ptq import (
    ActivationParameters,
    IntegerScheme,
    PreparedModel,
    WeightParameters,
    method_from_json,
    prepare,
)
from ptq_pipeline.ptq.reconstruction.learned import (
    LearnedQuantizer,
    SoftWeight,
    beta_at,
    kept_elements,
)
from ptq_pipeline.ptq.reconstruction.learning import batches
from ptq_pipeline.ptq.reconstruction.units import partition


def _initial(weight: torch.Tensor, scale: float, scheme: IntegerScheme, zero: int = 0):
    return WeightParameters(
        np.zeros(weight.shape, np.int8),
        np.full(len(weight), scale, np.float32),
        np.full(len(weight), zero, np.int32),
        scheme,
    )


def test_rounding_starts_as_the_float_weight_and_ends_at_its_neighbours() -> None:
    weight = torch.tensor([[0.31, -0.42], [0.05, 0.249]])
    soft = SoftWeight(weight, _initial(weight, 0.1, IntegerScheme(8, True)))
    rest = weight / 0.1 - torch.floor(weight / 0.1)
    torch.testing.assert_close(soft.up(), rest)
    torch.testing.assert_close(soft.soft(), weight)
    torch.testing.assert_close(soft.up(), (torch.sigmoid(soft.alpha) * 1.2 - 0.1).clamp(0.0, 1.0))
    np.testing.assert_array_equal(soft.hard().codes, [[3, -4], [1, 2]])
    with torch.no_grad():
        soft.alpha.fill_(-9.0)
    np.testing.assert_array_equal(soft.hard().codes, np.floor(weight.numpy() / 0.1))


def test_codes_stay_within_the_scheme() -> None:
    weight = torch.tensor([[5.0, -5.0]])
    soft = SoftWeight(weight, _initial(weight, 0.5, IntegerScheme(2, False), zero=1))
    np.testing.assert_array_equal(soft.hard().codes, [[3, 0]])
    torch.testing.assert_close(soft.soft().detach(), torch.tensor([[1.0, -0.5]]))


def test_regularizer_is_the_formula_and_zero_at_the_ends() -> None:
    weight = torch.rand(3, 4)
    soft = SoftWeight(weight, _initial(weight, 0.1, IntegerScheme(8, True)))
    h = soft.up()
    for beta in (20.0, 2.0):
        expected = (1 - (2 * h - 1).abs() ** beta).sum()
        torch.testing.assert_close(soft.regularizer(beta), expected)
    with torch.no_grad():
        soft.alpha.fill_(9.0)
    assert float(soft.regularizer(2.0).detach()) == 0.0


def test_beta_falls_after_the_warm_up() -> None:
    for annealing in ("linear", "cosine"):
        values = {"name": "qdrop", "iterations": 100, "annealing": annealing}
        config = method_from_json(values | {"beta_start": 20.0, "beta_end": 2.0, "warmup": 0.2})
        values = [beta_at(step, config) for step in range(100)]
        assert values[:20] == [None] * 20
        assert values[20] == 20.0 and 2.0 <= values[99] < 2.3
        assert values[60] == pytest.approx(11.0)
        assert all(a > b for a, b in zip(values[20:], values[21:], strict=False))


def _quantizer(keep: float = 1.0, seed: int = 0) -> LearnedQuantizer:
    start = ActivationParameters(0.25, 3, IntegerScheme(3, False))
    quantizer = LearnedQuantizer(start, np.random.default_rng(seed))
    quantizer.enabled, quantizer.keep = True, keep
    return quantizer


def test_scales_have_the_gradient_of_lsq() -> None:
    values = torch.linspace(-2.01, 2.0, 101, requires_grad=True)
    quantizer = _quantizer()
    weights = torch.rand(101)
    (quantizer(values) * weights).sum().backward()
    x = values.detach()
    codes = torch.round(x / 0.25)
    inside = (codes >= -3) & (codes <= 4)
    torch.testing.assert_close(quantizer(values).detach(), codes.clamp(-3, 4) * 0.25)
    torch.testing.assert_close(values.grad, weights * inside)
    # d x_hat / d s = code - x / s inside the range, and the code of the end outside.
    slope = codes.clamp(-3, 4) - torch.where(inside, x / 0.25, 0.0)
    torch.testing.assert_close(quantizer.scale.grad, (weights * slope).sum())


def test_dropping_keeps_the_quantized_value_with_the_probability_named() -> None:
    values = torch.rand(100_000) * 4 - 2
    exact = _quantizer()(values)
    mixed = _quantizer(keep=0.75)(values)
    quantized = mixed == exact
    assert bool((quantized | (mixed == values)).all())
    assert float(quantized.float().mean()) == pytest.approx(0.75, abs=0.01)
    rng = np.random.default_rng(0)
    assert float(kept_elements(values, 0.5, rng).float().mean()) == pytest.approx(0.5, abs=0.01)


def test_zero_stays_zero_whatever_scale_is_learned() -> None:
    quantizer = _quantizer()
    for scale in (0.1, 0.37, 2.0):
        with torch.no_grad():
            quantizer.scale.fill_(scale)
        assert float(quantizer(torch.zeros(1)).detach()) == 0.0
        assert quantizer.parameters().zero_point == 3


def test_batches_take_every_image_equally_often() -> None:
    rows = torch.cat(list(batches(10, 4, 25, np.random.default_rng(0))))
    assert torch.bincount(rows).tolist() == [10] * 10
    again = torch.cat(list(batches(10, 4, 25, np.random.default_rng(0))))
    assert torch.equal(rows, again)


def test_a_resnet_has_its_residual_blocks(prepared: PreparedModel) -> None:
    units, repeated = partition(prepared, blocks=True)
    assert [u.name for u in units] == ["conv1", *(f"blocks.{i}" for i in range(9)), "classifier"]
    assert not repeated
    assert units[0].activation == "relu" and units[0].readers == ("blocks.0.conv1",)
    assert units[3].readers == ("blocks.3.conv1", "blocks.3.shortcut.0")
    alone, _ = partition(prepared, blocks=False)
    assert [u.layers for u in alone] == [(layer.name,) for layer in prepared.layers]
    assert next(u for u in alone if u.name == "blocks.0.conv1").output == "blocks.0.relu1"


@pytest.mark.parametrize(
    ("name", "blocks"), [("mobilenet_v2", 17), ("regnet_y_400mf", 16), ("densenet121", 0)]
)
def test_blocks_of_torchvision_models(name: str, blocks: int) -> None:
    import torchvision

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = torchvision.models.get_model(name, weights=None).eval()
    model = prepare(module, torch.rand(2, 3, 64, 64))
    units, repeated = partition(model, blocks=True)
    assert sum(unit.is_block for unit in units) == blocks and not repeated
    covered = [layer for unit in units for layer in unit.layers]
    assert sorted(covered) == sorted(layer.name for layer in model.layers)


def test_a_layer_that_runs_twice_is_in_no_unit() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 1, 3, padding=1)
            self.out = nn.Linear(16, 3)

        def forward(self, x):
            small = torch.nn.functional.avg_pool2d(self.conv(x), 2)
            return self.out(self.conv(small).flatten(1))

    model = prepare(Twice().eval(), torch.rand(2, 1, 8, 8))
    units, repeated = partition(model, blocks=True)
    assert [unit.name for unit in units] == ["out"] and repeated == ["conv"]
