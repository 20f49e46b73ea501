"""The network's own answers: part of its identity, and independent of the images beside."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.models import FloatModel, Preprocessing, load_float_model, resnet20
from ptq_pipeline.models.inference import probe, require_single_answers

GREY = Preprocessing((0.286,), (0.353,))
PIXELS = np.random.default_rng(0).integers(0, 256, (40, 1, 28, 28)).astype(np.uint8)


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def of(module: nn.Module) -> FloatModel:
    return FloatModel(module.eval().requires_grad_(False), GREY, ("a", "b"), "x")


def edited(**arguments) -> nn.Module:
    """The network of equal weights whose code was edited."""
    module = resnet20(**arguments)
    for parent in module.modules():
        for name, child in parent.named_children():
            if isinstance(child, nn.ReLU):
                setattr(parent, name, nn.LeakyReLU(0.01))
    forward = module.forward
    module.forward = lambda x: forward(x.flip(-1) * 1.001)
    return module


def test_edited_code_is_another_model(tmp_path, monkeypatch):
    weights = tmp_path / "weights.safetensors"
    save_file(resnet20().state_dict(), weights)

    def load() -> str:
        classes = tuple("abcdefghij")
        return load_float_model("ptq_pipeline.models.resnet20", weights, GREY, classes).fingerprint

    before = load()
    assert load() == before
    monkeypatch.setattr("ptq_pipeline.models.resnet20", edited)
    assert load() != before


@pytest.mark.parametrize("threads", [1, 2])
def test_the_probe_is_the_same_whatever_rounds(threads):
    module = resnet20().eval()
    expected = probe(module, GREY)
    assert expected is not None and expected["side"] == 32 and len(expected["outputs"]) == 20
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        with torch.no_grad():
            module.classifier.weight.mul_(1 + 1e-12)
        assert probe(module.to(memory_format=torch.channels_last), GREY) == expected
    finally:
        torch.set_num_threads(before)


class Casting(nn.Module):
    """Takes images of one side only, and converts them itself."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(28 * 28, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x.float().flatten(1))


def test_networks_of_one_side_or_type_are_probed_too():
    found = probe(Casting(), GREY)
    assert found is not None and found["side"] == 28
    assert probe(nn.Sequential(nn.Flatten(), nn.Linear(50 * 50, 2)), GREY) is None


class Branch(nn.Module):
    """Answers by the mean of the whole batch."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(28 * 28, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head((x - x.mean()).flatten(1))


@pytest.mark.parametrize(
    "module",
    [
        nn.Sequential(
            nn.Flatten(), nn.Linear(784, 2), nn.BatchNorm1d(2, track_running_stats=False)
        ),
        nn.Sequential(
            *(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4, track_running_stats=False), nn.ReLU()),
            *(nn.Flatten(), nn.Linear(4 * 676, 2)),
        ),
        Branch(),
    ],
)
def test_answers_that_depend_on_the_batch_are_refused(module):
    with pytest.raises(InputError, match="running statistics"):
        require_single_answers(of(module), PIXELS)


def test_what_looks_at_the_place_in_the_batch_is_refused():
    class Shuffled(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(1)[:, :2] * torch.arange(1, len(x) + 1)[:, None]

    with pytest.raises(InputError, match="depends on the images beside it"):
        require_single_answers(of(Shuffled()), PIXELS)


def test_answers_of_single_images_pass():
    require_single_answers(of(resnet20()), PIXELS)
    require_single_answers(of(resnet20()), PIXELS[:1])
