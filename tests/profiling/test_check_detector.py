"""A float detector is looked at before any trial: does it find objects, of the right class?"""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.models import FloatModel, Preprocessing
from ptq_pipeline.profiling.plausibility import check_detector
from ptq_pipeline.tasks.detector import Detection

SIDE, IMAGES = 24, 60
BRIGHT = (120, 250)


class FindsRectangles(nn.Module):
    """Finds the one bright rectangle of an image; its class is how bright it is."""

    def __init__(self, order: tuple[int, int] = (0, 1), score: float = 0.9) -> None:
        super().__init__()
        self.order, self.score = torch.tensor(order), score

    def forward(self, x: Tensor) -> Tensor:
        rows = []
        for image in x[:, 0]:
            inside = (image > 0.2).nonzero()
            (top, left), (bottom, right) = inside.amin(0), inside.amax(0) + 1
            category = self.order[int(image.max() > 0.7)]
            rows.append(torch.stack([left, top, right, bottom, torch.tensor(0), category]).float())
        found = torch.stack(rows)[:, None]
        found[..., 4] = self.score
        return found


@pytest.fixture(scope="module")
def images():
    generator = np.random.default_rng(0)
    pixels = np.zeros((IMAGES, 1, SIDE, SIDE), np.uint8)
    objects = []
    for image in pixels:
        left, top = generator.integers(0, 12, 2).tolist()
        label = int(generator.integers(2))
        image[0, top : top + 9, left : left + 9] = BRIGHT[label]
        objects.append(json.dumps([{"bbox": [left, top, 9, 9], "label": label}]))
    table = pd.DataFrame({"sample_id": range(IMAGES), "split": "selection", "objects": objects})
    return pixels, table


def detector(module, score=0.5):
    classes = ("dim", "bright")
    task = Detection.of(classes, {"decoder": {"kind": "end_to_end"}, "score": score})
    return FloatModel(module, Preprocessing((0.0,), (1.0,)), classes, "f", task=task)


def test_a_detector_that_finds_its_objects_passes(images):
    check_detector(detector(FindsRectangles()), *images)


def test_one_that_finds_nothing_at_its_threshold_is_refused_with_advice(images):
    with pytest.raises(InputError, match="finds none of 60 objects .* at a score of 0.95"):
        check_detector(detector(FindsRectangles(), score=0.95), *images)


def test_classes_in_another_order_are_named(images):
    with pytest.raises(InputError, match="output 0 is 'bright', not 'dim'"):
        check_detector(detector(FindsRectangles(order=(1, 0))), *images)
