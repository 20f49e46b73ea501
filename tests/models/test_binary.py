"""Networks with one output for two classes."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.models import Preprocessing, load_float_model
from ptq_pipeline.models.inference import require_logit, require_single_answers, run_in_batches
from ptq_pipeline.profiling.features import fit_projection, model_features

GREY = Preprocessing((0.5,), (0.5,))
PIXELS = np.random.default_rng(0).integers(0, 256, (20, 1, 28, 28)).astype(np.uint8)


class Binary(nn.Module):
    """One output per image: a logit, a probability, or a logit with dropout left on."""

    def __init__(self, kind: str = "logit", axes: int = 2) -> None:
        super().__init__()
        self.kind, self.axes = kind, axes
        self.conv = nn.Conv2d(1, 8, 5, stride=4)
        self.head = nn.Linear(288, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.conv(x)).flatten(1)
        if self.kind == "dropout":
            x = nn.functional.dropout(x, 0.5, training=True)
        x = 20 * self.head(x)
        x = x.sigmoid() if self.kind == "probability" else x
        return x if self.axes == 2 else x[:, 0]


def loaded(tmp_path, classes=("no", "yes"), **arguments):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save(Binary().state_dict(), tmp_path / "weights.pt")
    factory = f"{__name__}.Binary"
    return load_float_model(factory, tmp_path / "weights.pt", GREY, classes, arguments)


def profiled(model):
    logits, features = run_in_batches(model, PIXELS)
    table = model_features(logits, features, fit_projection(features))
    return table["predicted"].to_numpy(), table["confidence"].to_numpy()


@pytest.mark.parametrize("axes", [1, 2])
def test_the_sign_of_one_logit_is_the_answer(tmp_path, axes):
    model = loaded(tmp_path, axes=axes)
    with torch.no_grad():
        logit = model.module.network(torch.from_numpy(GREY(PIXELS))).reshape(-1)
    predicted, confidence = profiled(model)
    assert predicted.tolist() == (logit > 0).long().tolist()
    assert 0 < predicted.mean() < 1
    require_logit(model, predicted, confidence)


def test_a_probability_is_refused(tmp_path):
    model = loaded(tmp_path, kind="probability")
    with pytest.raises(InputError, match="which is a probability; let it return the logit"):
        require_logit(model, *profiled(model))


def test_one_output_and_three_classes_do_not_fit(tmp_path):
    with pytest.raises(InputError, match="3 classes are declared"):
        profiled(loaded(tmp_path, classes="abc"))


def test_dropout_that_is_left_on_is_called_random(tmp_path):
    with pytest.raises(InputError, match="something in it is random, such as dropout"):
        require_single_answers(loaded(tmp_path, kind="dropout"), PIXELS)
