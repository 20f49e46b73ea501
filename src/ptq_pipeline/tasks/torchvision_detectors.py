"""torchvision's one-stage detectors: the network that is quantized, and what makes boxes of it.

Served are `ssdlite320_mobilenet_v3_large` and `ssd300_vgg16`, `retinanet_resnet50_fpn` (and
``_v2``), and `fcos_resnet50_fpn`. Two-stage detectors resample their maps by what they find, so
their heads run on other inputs for every image; those are not.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.models import get_model
from torchvision.models.detection import FCOS, RetinaNet
from torchvision.models.detection._utils import BoxCoder, BoxLinearCoder
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.ssd import SSD

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.tasks.decoders import Candidates, Decoder

CENTRES = "bbox_ctrness"


class RawMaps(nn.Module):
    """Backbone, neck and heads; input (N, 3, H, W), normalised, output (N, places, values).

    The values of a place are the four of its box, FCOS's centre-ness, and a logit a class.
    """

    def __init__(self, detector: Any) -> None:
        super().__init__()
        self.backbone = detector.backbone
        self.head = detector.head

    def forward(self, x: Tensor) -> Tensor:
        """Return the values of every place."""
        found = self.head(list(self.backbone(x).values()))
        names = ["bbox_regression", *([CENTRES] if CENTRES in found else []), "cls_logits"]
        return torch.cat([found[name] for name in names], dim=-1)


def raw_maps(name: str, classes: int) -> RawMaps:
    """Build the network of one of torchvision's one-stage detectors, with fresh weights.

    Args:
        name: As ``torchvision.models.get_model`` knows it.
        classes: With the background, where the detector has one (SSD).

    Raises:
        InputError: There is no such detector, or it has two stages.
    """
    return RawMaps(_detector(name, classes))


@dataclass(frozen=True)
class AnchorBoxes(Decoder):
    """Boxes relative to anchors, as torchvision's detectors return them; see `of`.

    Attributes:
        anchors: Left, top, right, bottom of every place, float32, shape (places, 4).
        background: Whether the first class is none, so that the classes found count from the next.
        coder: What makes a box of an anchor and four values.
        kind: ``ssd`` (softmax with a background in front), ``retinanet`` or ``fcos``.
    """

    anchors: Tensor = field(default_factory=lambda: torch.zeros(0, 4))
    coder: Any = None
    kind: str = "retinanet"
    size: tuple[int, int] = (0, 0)
    background: bool = False

    @classmethod
    def of(cls, name: str, classes: int, size: tuple[int, int], **settings: Any) -> AnchorBoxes:
        """Return the decoder of a detector for images of one size.

        Args:
            name: As for `raw_maps`; ``classes`` likewise.
            classes: Number of classes.
            size: Height and width of the images in pixels.
            **settings: ``least`` and ``suppression`` of `Decoder`, and ``background``.

        Raises:
            InputError: There is no such detector, or it has two stages.
        """
        detector = _detector(name, classes).eval()
        images = torch.zeros(1, 3, *size)
        with torch.inference_mode():
            maps = list(detector.backbone(images).values())
        (anchors,) = detector.anchor_generator(ImageList(images, [size]), maps)
        kind = type(detector).__name__.lower()
        return cls(
            classes, anchors=anchors, coder=detector.box_coder, kind=kind, size=size, **settings
        )

    @property
    def shape(self) -> tuple[int | None, ...]:
        """Places and values."""
        return (len(self.anchors), 4 + (self.kind == "fcos") + self.classes)

    def _candidates(self, output: NDArray[np.float32]) -> Candidates:
        values = torch.from_numpy(np.ascontiguousarray(output))
        scores = self._scores(values[:, 4:])
        place, category = torch.nonzero(scores >= self.least, as_tuple=True)
        boxes = _decoded(self.coder, values[place, :4], self.anchors[place])
        height, width = self.size
        boxes = torch.minimum(boxes.clamp(min=0), torch.tensor([width, height] * 2))
        classes = category.numpy() - int(self.background)
        return Candidates(boxes.numpy(), scores[place, category].numpy(), classes)

    def _scores(self, logits: Tensor) -> Tensor:
        """Return a score a place and class; the background of SSD has none."""
        if self.kind == "ssd":
            scores = logits.softmax(dim=1)
            scores[:, 0] = -1.0
            return scores
        if self.kind == "fcos":
            return (logits[:, 1:].sigmoid() * logits[:, :1].sigmoid()).sqrt()
        return logits.sigmoid()


def _decoded(coder: BoxCoder | BoxLinearCoder, values: Tensor, anchors: Tensor) -> Tensor:
    if isinstance(coder, BoxLinearCoder):
        return coder.decode(values, anchors)
    return coder.decode_single(values, anchors)


def _detector(name: str, classes: int) -> Any:
    try:
        with torch.random.fork_rng(devices=[]):
            found = get_model(name, weights=None, weights_backbone=None, num_classes=classes)
    except (ValueError, TypeError) as error:
        raise InputError(
            f"torchvision has no detector '{name}' ({error}); see torchvision.models.list_models()"
        ) from error
    if not isinstance(found, (SSD, RetinaNet, FCOS)):
        raise InputError(
            f"'{name}' is no one-stage detector; only SSD, RetinaNet and FCOS return maps that are "
            "the same for every image"
        )
    return found
