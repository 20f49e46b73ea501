"""torchvision's detectors: our boxes are those of its own postprocessing."""

import numpy as np
import pytest
import torch
from torchvision.models import get_model
from torchvision.models.detection.image_list import ImageList

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.ptq import method_from_json, prepare, quantize_model
from ptq_pipeline.runtimes import build_runtime
from ptq_pipeline.tasks.torchvision_detectors import AnchorBoxes, RawMaps, raw_maps

CLASSES = 4
DETECTORS = [
    ("ssdlite320_mobilenet_v3_large", (320, 320)),
    ("retinanet_resnet50_fpn_v2", (96, 128)),
    ("fcos_resnet50_fpn", (96, 128)),
]


def _detector(name):
    """A detector with random weights that finds something."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        detector = get_model(name, weights=None, weights_backbone=None, num_classes=CLASSES)
        for parameter in detector.parameters():
            if parameter.ndim == 4:
                torch.nn.init.kaiming_normal_(parameter)
    return detector.eval().requires_grad_(False)


@pytest.mark.parametrize(("name", "size"), DETECTORS)
def test_boxes_are_those_of_torchvision(name, size):
    detector = _detector(name)
    detector.score_thresh, detector.nms_thresh = 0.0, 0.6
    detector.topk_candidates = detector.detections_per_img = 10**6
    x = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
    maps = list(detector.backbone(x).values())
    head = detector.head(maps)
    anchors = detector.anchor_generator(ImageList(x, [size]), maps)
    if not name.startswith("ssd"):
        counts = [each.shape[-2] * each.shape[-1] for each in maps]
        per_level = head["cls_logits"].shape[1] // sum(counts)
        split = [count * per_level for count in counts]
        head = {key: list(value.split(split, dim=1)) for key, value in head.items()}
        anchors = [list(anchors[0].split(split))]
    (theirs,) = detector.postprocess_detections(head, anchors, [size])
    decoder = AnchorBoxes.of(name, CLASSES, size, least=0.0, suppression=0.6)
    ours = decoder(RawMaps(detector)(x).numpy())
    scores, labels, boxes = (theirs[key].numpy() for key in ("scores", "labels", "boxes"))
    assert len(ours.score) == len(scores) > 100
    assert len(np.unique(scores)) > 50
    one = np.lexsort((ours.boxes.corners[:, 0], ours.boxes.category, -ours.score))
    other = np.lexsort((boxes[:, 0].astype(float), labels, -scores.astype(float)))
    np.testing.assert_allclose(ours.score[one], scores[other], rtol=1e-5)
    np.testing.assert_array_equal(ours.boxes.category[one], labels[other])
    np.testing.assert_allclose(ours.boxes.corners[one], boxes[other], atol=1e-3)


def test_heads_that_run_on_every_map_are_quantized():
    network = RawMaps(_detector("retinanet_resnet50_fpn_v2"))
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    prepared = prepare(network, x, output_dimensions=3)
    names = {layer.name for layer in prepared.layers}
    assert {"head.classification_head.cls_logits", "head.regression_head.bbox_reg"} <= names
    assert sum(name.startswith("backbone.fpn.") for name in names) == 8
    method = method_from_json({"name": "nearest", "weight_bits": 8, "activation_bits": 8})
    parameters = quantize_model(prepared, [x], method, seed=0)
    expected = network(x).numpy()
    for runtime in ("simulated", "openvino"):
        got = build_runtime(runtime).compile(prepared, parameters)(x.numpy())
        assert np.abs(got - expected).mean() < 0.05 * np.abs(expected).mean()


@pytest.mark.parametrize(
    ("name", "said"),
    [("nothing", "no detector 'nothing'"), ("fasterrcnn_resnet50_fpn", "is no one-stage detector")],
)
def test_what_has_no_maps_is_refused(name, said):
    with pytest.raises(InputError, match=said):
        raw_maps(name, CLASSES)
