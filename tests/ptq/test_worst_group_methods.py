"""The plug-ins of the study of the worst group do what their formulas say."""

import numpy as np
import pytest
import torch
import worst_group_methods as methods
from torch import nn

from ptq_pipeline.ptq import method_from_json, prepare, quantize_model
from ptq_pipeline.ptq.methods import _METHODS


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    """For a test each: the study's methods are none of the package's."""
    monkeypatch.setattr("ptq_pipeline.ptq.methods._METHODS", dict(_METHODS))
    methods.register_all()


@pytest.fixture(scope="module")
def prepared():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = nn.Sequential(
            *(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU()),
            *(nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 16, 3)),
        )
        return prepare(module.eval(), torch.zeros(2, 1, 8, 8)), torch.randn(48, 1, 8, 8)


def quantized(prepared, **values):
    model, images = prepared
    method = method_from_json({"weight_bits": 4, "activation_bits": 4, **values})
    return quantize_model(model, images.split(16), method, seed=0)


def test_greedy_coverage_reaches_the_largest_values_of_each_group():
    largest = torch.tensor([[9.0, 0.0], [0.0, 9.0], [5.0, 5.0], [1.0, 1.0], [2.0, 0.0], [0.0, 2.0]])
    groups = torch.tensor([0, 0, 0, 0, 1, 1])
    # In group 0 the one with both channels gains 10/9, then the two ends; group 1 has two images.
    assert methods.covering(largest, groups, 5).tolist() == [0, 1, 2, 4, 5]
    assert methods.covering(largest, groups, 1).tolist() == [2]


def test_minimax_ranges_have_other_errors_than_those_of_the_least_sum(prepared):
    model, images = prepared
    groups = methods.predicted(model, images)
    assert len(groups.unique()) > 1
    found = {
        criterion: quantized(prepared, name="group_ranges", criterion=criterion)
        for criterion in ("mean", "minimax")
    }

    def errors(parameters, layer):
        """Squared errors of each group, from the very values."""
        seen = {}
        handle = model.layer_module(layer).register_forward_pre_hook(
            lambda child, args: seen.setdefault(layer, args[0])
        )
        model.module(images)
        handle.remove()
        values, given = seen[layer], parameters.layers[layer].activation
        codes = (torch.round(values / given.scale) + given.zero_point).clamp(0, 15)
        error = ((codes - given.zero_point) * given.scale - values).square().flatten(1).sum(1)
        return torch.stack([error[groups == group].sum() for group in groups.unique()])

    for layer in model.layers:
        with torch.no_grad():
            mean, minimax = (errors(each, layer.name) for each in found.values())
        # Histograms stand for the values, hence the hundredth.
        assert mean.sum() <= 1.01 * minimax.sum()
    ranges = [[e.activation.scale for e in each.layers.values()] for each in found.values()]
    assert ranges[0] != ranges[1]


def test_a_correction_the_whole_way_is_the_correction(prepared):
    whole = quantized(prepared, name="shrunk_correction", share=1.0)
    none = quantized(prepared, name="shrunk_correction", share=0.0)
    full = quantized(prepared, corrections=["batch_norm_reestimation"])
    plain = quantized(prepared)
    for name, layer in full.layers.items():
        np.testing.assert_allclose(whole.layers[name].weight.scale, layer.weight.scale, rtol=1e-6)
        np.testing.assert_array_equal(
            none.layers[name].weight.scale, plain.layers[name].weight.scale
        )
    assert set(whole.overrides) == set(full.overrides)


def test_weights_that_are_all_one_leave_gptq_as_it_is(prepared):
    plain = quantized(prepared, name="gptq")
    same = quantized(prepared, name="weighted_gptq")
    other = quantized(prepared, name="weighted_gptq", times={"0": 3, "1": 2})
    codes = [[each.weight.codes for each in p.layers.values()] for p in (plain, same, other)]
    assert all(np.array_equal(a, b) for a, b in zip(*codes[:2], strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(codes[0], codes[2], strict=True))


def test_group_dro_rounds_each_weight_to_a_neighbour(prepared):
    plain = quantized(prepared, weight_range="mse", activation_range="mse")
    found = quantized(prepared, name="group_dro")
    for name, layer in found.layers.items():
        moved = layer.weight.codes.astype(int) - plain.layers[name].weight.codes
        assert np.abs(moved).max() <= 1
    assert any(
        (layer.weight.codes != plain.layers[name].weight.codes).any()
        for name, layer in found.layers.items()
    )
