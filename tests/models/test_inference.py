"""The network's own answers: part of its identity, and independent of the images beside."""

import copy
import threading

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.models import FloatModel, Preprocessing, load_float_model, resnet20
from ptq_pipeline.models.inference import probe, require_single_answers, run_in_batches

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


def test_a_network_that_cannot_be_asked_is_one_sentence():
    class Pair(nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return x, x

    with pytest.raises(InputError, match="returns a tuple and no tensor of logits; give"):
        require_single_answers(of(Pair()), PIXELS)
    with pytest.raises(
        InputError, match=r"cannot answer images of shape \(1, 28, 28\) \(.*'shape'"
    ):
        require_single_answers(of(nn.Conv2d(3, 2, 1)), PIXELS)


def test_answers_of_single_images_pass():
    require_single_answers(of(resnet20()), PIXELS)
    require_single_answers(of(resnet20()), PIXELS[:1])


class Remembering(nn.Module):
    """Keeps what it computes in an attribute, as networks do that show attention maps."""

    def __init__(self, met: threading.Barrier) -> None:
        super().__init__()
        self.head, self.met, self.threads = nn.Linear(28 * 28, 2), [met], []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.kept = x.flatten(1)
        self.threads.append(torch.get_num_threads())
        # Both batches are at the same point, so one thread would read what the other has kept.
        self.met[0].wait(timeout=10)
        return self.head(self.kept)

    def __deepcopy__(self, memo):
        found = copy.copy(self)
        found._modules = {"head": copy.deepcopy(self.head, memo)}
        return found


@pytest.mark.parametrize("streams", [1, 2])
def test_batches_side_by_side_are_each_on_one_thread_and_know_nothing_of_each_other(streams):
    model = of(Remembering(threading.Barrier(streams)))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(streams)
        logits, features = run_in_batches(model, PIXELS, batch_size=10)
        assert torch.get_num_threads() == streams
    finally:
        torch.set_num_threads(before)
    inputs = GREY(PIXELS).reshape(40, -1)
    assert (features == inputs).all()
    expected = model.module.head(torch.from_numpy(inputs)).numpy()
    assert logits == pytest.approx(expected, abs=1e-5)
    assert model.module.threads == [1] * 4
    # The model itself is as it was.
    assert not hasattr(model.module, "kept") and not model.module.head._forward_pre_hooks
