"""What units are given is what a whole pass from the images gives them, and cheaper."""

import copy

import pytest
import torch
from torch import Tensor, nn

from ptq_pipeline.models import mobilenet_v2_small, resnet20
from ptq_pipeline.ptq import PreparedModel, prepare
from ptq_pipeline.ptq.reconstruction.prefix import Prefix, stages_of
from ptq_pipeline.ptq.reconstruction.units import partition


def _prepared(build) -> tuple[PreparedModel, Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return prepare(build().eval(), torch.zeros(2, 1, 28, 28)), torch.randn(3, 1, 28, 28)


@pytest.mark.parametrize("blocks", [True, False])
@pytest.mark.parametrize("build", [resnet20, mobilenet_v2_small])
def test_each_unit_is_given_what_a_whole_pass_gives_it(build, blocks: bool) -> None:
    prepared, images = _prepared(build)
    units, _ = partition(prepared, blocks)
    root = copy.deepcopy(prepared.module)
    prefix = Prefix(root, images, stages_of(prepared, images))
    for unit in units:
        assert torch.equal(prefix.input_of(unit), unit.input_of(root, images))
        # What comes behind sees the change.
        with torch.no_grad():
            for name in unit.layers:
                root.get_submodule(name).weight.mul_(0.9)


def test_every_layer_runs_a_few_times_whatever_the_depth() -> None:
    prepared, images = _prepared(resnet20)
    units, _ = partition(prepared, False)
    stages = stages_of(prepared, images)
    runs = []
    for layer in prepared.layers:
        module = prepared.layer_module(layer.name)
        module.register_forward_hook(lambda child, args, out, name=layer.name: runs.append(name))
    prefix = Prefix(prepared.module, images, stages)
    for unit in units:
        prefix.input_of(unit)
    # 22 units, each behind half of 22 layers, were 231; one more pass is up to the classifier.
    assert len(runs) < 4 * len(prepared.layers)


class _Remembers(nn.Module):
    """A model whose second block reads, past its argument, what the first one left behind."""

    class Block(nn.Module):
        def __init__(self, root: list[Tensor], channels: int) -> None:
            super().__init__()
            self.kept = root
            self.one, self.two = nn.Conv2d(channels, 4, 1), nn.Conv2d(4, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            before = self.kept[-1].mean() if self.kept else 0.0
            self.kept.append(x)
            return self.two(self.one(x).relu()) + before

    def __init__(self) -> None:
        super().__init__()
        kept: list[Tensor] = []
        self.first, self.second = self.Block(kept, 1), self.Block(kept, 4)

    def forward(self, x: Tensor) -> Tensor:
        self.first.kept.clear()
        return self.second(self.first(x)).mean((2, 3))


def test_a_block_that_depends_on_more_than_its_input_is_reached_from_the_images() -> None:
    prepared, images = _prepared(_Remembers)
    stages = stages_of(prepared, images)
    assert not any(layer.startswith("second") for layer in stages)
    prefix = Prefix(prepared.module, images, stages)
    for unit in partition(prepared, False)[0]:
        assert torch.equal(prefix.input_of(unit), unit.input_of(prepared.module, images))
