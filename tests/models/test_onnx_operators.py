"""What onnx2pytorch leaves as data is written down, so that a converted network can be exported."""

import numpy as np
import pytest
import torch
from torch import nn

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.models import Preprocessing, load_float_model
from ptq_pipeline.models.onnx_file import network_of_onnx
from ptq_pipeline.models.onnx_operators import FixedReshape, FixedResize, FixedSlice

pytest.importorskip("onnx2pytorch")
SIDE = 8


class BoxesAndScores(nn.Module):
    """As YOLO's last layers: maps of two sizes, boxes from distances, probabilities."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.up = nn.Conv2d(1, 6, 3, 2, 1), nn.Upsample(scale_factor=2.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = self.up(self.conv(x)).reshape(-1, 6, SIDE * SIDE)
        near, far = maps[:, 0:2], maps[:, 2:4]
        return torch.cat([(far - near) / 2, near + far, maps[:, 4:].sigmoid()], 1)


def written(network, path):
    torch.manual_seed(0)
    torch.onnx.export(
        network.eval(), torch.zeros(1, 1, SIDE, SIDE), path, dynamo=False, opset_version=17,
        input_names=["x"], dynamic_axes={"x": {0: "n"}},
    )  # fmt: skip
    return path.read_bytes()


def test_a_converted_detector_has_an_open_batch_for_every_exporter(tmp_path):
    network = BoxesAndScores()
    path = tmp_path / "m.onnx"
    converted = network_of_onnx(written(network, path), path)
    kinds = {type(each) for each in converted.modules()}
    assert kinds >= {FixedSlice, FixedResize, FixedReshape}
    given = torch.from_numpy(np.random.default_rng(0).normal(size=(3, 1, SIDE, SIDE))).float()
    batch = torch.export.Dim("batch")
    exported = torch.export.export(converted, (given[:2],), dynamic_shapes=({0: batch},)).module()
    for images in (given, given[:2]):
        expected = network(images)
        torch.testing.assert_close(converted(images), expected)
        torch.testing.assert_close(exported(images), expected)


def test_a_file_that_picks_its_boxes_itself_is_refused(tmp_path):
    detector = {"decoder": {"kind": "end_to_end"}}
    with pytest.raises(InputError, match="picks its boxes itself"):
        load_float_model(
            "onnx", tmp_path / "m.onnx", Preprocessing((0.0,), (1.0,)), ("a",), detector=detector
        )
