"""Layers of a prepared model found again in converted graphs."""

import numpy as np
import pytest
import torch
from torch import nn

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.ptq import prepare
from ptq_pipeline.ptq.places import Matcher


@pytest.fixture
def matcher() -> Matcher:
    network = nn.Sequential(nn.Conv2d(4, 6, 3, groups=2), nn.Flatten(), nn.Linear(6, 3))
    return Matcher("converter", prepare(network, torch.rand(2, 4, 3, 3)), {})


def test_a_weight_of_another_shape_is_another_weight(matcher: Matcher) -> None:
    weight = matcher.prepared.weight("2")
    assert matcher.layer("'a'", ["2"], weight) == "2"
    with pytest.raises(InputError, match="weight of layer '2' changed in conversion"):
        # The same numbers in the same order, but other products.
        matcher.layer("'a'", ["2"], weight.reshape(6, 3))


def test_groups_may_have_an_axis_of_their_own(matcher: Matcher) -> None:
    weight = matcher.prepared.weight("0")
    assert matcher.layer("'a'", ["0"], weight.reshape(2, 3, *weight.shape[1:])) == "0"
    with pytest.raises(InputError, match="weight of layer '0' changed"):
        matcher.layer("'a'", ["0"], weight.reshape(3, 2, *weight.shape[1:]))


def test_what_multiplies_elsewhere_is_called_by_its_name(matcher: Matcher) -> None:
    with pytest.raises(InputError, match="operation 'product' of module 'b' belongs to no layer"):
        matcher.layer("'product' of module 'b'", ["b"], np.zeros((2, 2)))
