import numpy as np
import pytest
from bits_of_layers import Effects, choose_bits, layer_units, measure_effects
from torch import Tensor

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.ptq import MethodSpec, PreparedModel
from ptq_pipeline.runtimes import SimulatedRuntime


def _effects(prepared: PreparedModel, hurt: str, group: str, budget="size") -> Effects:
    """Two groups; one layer hurts one group only, all others hurt both a little."""
    names = tuple(layer.name for layer in prepared.layers)
    by_group = np.zeros((len(names), 3, 2))
    by_group[:, 0], by_group[:, 1] = 0.02, 0.01
    index = 0 if group == "a" else 1
    by_group[names.index(hurt), 0, index] = 5.0
    by_group[names.index(hurt), 0, 1 - index] = -4.98
    return Effects(names, (2, 4, 8), ("a", "b"), by_group, by_group.mean(2), budget)


@pytest.mark.parametrize("budget", ["size", "operations"])
@pytest.mark.parametrize("bits", [2.0, 3.0, 4.5, 8.0])
def test_the_budget_holds(prepared: PreparedModel, budget: str, bits: float) -> None:
    effects = _effects(prepared, "conv1", "a", budget)
    chosen = choose_bits(prepared, effects, bits)
    power = 1 if budget == "size" else 2
    units = layer_units(prepared, budget)
    cost = sum(units[name] * chosen[name] ** power for name in units)
    assert cost <= sum(units.values()) * bits**power
    if bits == 8.0:
        assert set(chosen.values()) == {8}


def test_the_worst_group_protects_what_the_average_gives_away(prepared: PreparedModel) -> None:
    hurt = "blocks.8.conv2"
    effects = _effects(prepared, hurt, "b")
    assert choose_bits(prepared, effects, 3.0)[hurt] > 2
    assert choose_bits(prepared, effects, 3.0, by="average")[hurt] == 2


def test_units_count_weights_and_multiplications(prepared: PreparedModel) -> None:
    assert layer_units(prepared, "size")["blocks.0.conv1"] == 16 * 16 * 9
    operations = layer_units(prepared, "operations")
    assert operations["blocks.0.conv1"] == 16 * 16 * 9 * 28 * 28
    assert operations["classifier"] == 640


def test_effects_are_measured_one_layer_at_a_time(prepared: PreparedModel, images: Tensor) -> None:
    runtime, batch = SimulatedRuntime(), images[:32].numpy()
    float_logits = runtime.compile(prepared, None)(batch)
    labels = float_logits.argmax(1)
    half = np.arange(32) < 16
    effects = measure_effects(
        prepared,
        [images[:16]],
        MethodSpec(),
        lambda parameters: runtime.compile(prepared, parameters)(batch),
        labels,
        {"first": half, "second": ~half},
        bits=(2, 8),
    )
    assert effects.by_group.shape == (22, 2, 2)
    assert not effects.average[:, 1].any()
    assert (effects.worst >= effects.average - 1e-12).all()
    assert (effects.average[:, 0] != 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bits": (4,)}, "at least two numbers of bits"),
        ({"groups": {}}, "at least one group"),
        ({"groups": {"none": np.zeros(4, bool)}}, "group 'none' has no image"),
    ],
)
def test_bad_input(prepared: PreparedModel, images: Tensor, options: dict, message: str) -> None:
    given = {"groups": {"all": np.ones(4, bool)}, "bits": (2, 8), **options}
    with pytest.raises(InputError, match=message):
        measure_effects(
            prepared,
            [images[:4]],
            MethodSpec(),
            lambda p: np.zeros((4, 10)),
            np.zeros(4, int),
            **given,
        )
    effects = _effects(prepared, "conv1", "a")
    with pytest.raises(InputError, match="budget of 1.5 bits is below the fewest, 2"):
        choose_bits(prepared, effects, 1.5)
