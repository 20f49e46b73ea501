"""What cannot be served is known before long work."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.models import Preprocessing, load_float_model
from ptq_pipeline.trials.readiness import require_servable
from ptq_pipeline.trials.recipe import Recipe
from ptq_pipeline.trials.trial import TrialStore

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 3, 16, 16)).astype(np.uint8)


class Net(nn.Module):
    """A small network with one step of its own before the head."""

    def __init__(self, step: str = "plain") -> None:
        super().__init__()
        self.step = step
        self.conv = nn.Conv2d(3, 6, 3, stride=2)
        self.head = nn.Linear(6, 4)
        self.pool = nn.AdaptiveMaxPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.conv(x))
        if self.step == "pool":
            x = self.pool(x)
        elif self.step == "branch" and x.mean() > 0.2:
            x = -3 * x
        elif self.step == "huge":
            x = x * 1e38
        return self.head(x.mean((2, 3)))


def servable(tmp_path, step, runtime="openvino", method=None, store=None):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = Net().state_dict()
    save_file(state, tmp_path / "weights.safetensors")
    model = load_float_model(
        f"{__name__}.Net", tmp_path / "weights.safetensors",
        Preprocessing((0.5,) * 3, (0.25,) * 3), "abcd", {"step": step},
    )  # fmt: skip
    recipe = Recipe.model_validate({"method": method or {}, "runtime": {"name": runtime}})
    threads = torch.get_num_threads()
    require_servable(model, PIXELS, recipe, store)
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime", "simulated"])
def test_a_model_that_goes_the_whole_way(tmp_path, runtime):
    servable(tmp_path, "plain", runtime)


@pytest.mark.parametrize(
    "method", [{"name": "qdrop_cpu"}, {"name": "onnxruntime_static", "calibrate_method": "entropy"}]
)
def test_methods_of_other_kinds(tmp_path, method):
    servable(tmp_path, "plain", "onnxruntime", method)


def test_what_torch_cannot_export_is_known_before_the_first_trial(tmp_path):
    with pytest.raises(InputError, match="onnx: torch cannot export the model") as said:
        servable(tmp_path, "pool")
    assert "\n" not in str(said.value)


def test_a_branch_on_values_is_known_before_the_first_trial(tmp_path):
    with pytest.raises(InputError, match=r"answers in runtime 'openvino' not as in torch.*branch"):
        servable(tmp_path, "branch")


def test_it_is_asked_once(tmp_path, monkeypatch):
    store = TrialStore(tmp_path / "trials")
    servable(tmp_path, "plain", store=store)
    assert len(list((tmp_path / "trials/servable").iterdir())) == 1
    monkeypatch.setattr("ptq_pipeline.trials.readiness._require_files", None)
    servable(tmp_path, "plain", store=store)
