"""A compact anchor-free detector for the studies of detection, and how it is trained."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.ops import generalized_box_iou_loss, sigmoid_focal_loss

from ptq_pipeline.models import Preprocessing
from ptq_pipeline.models.detectors import compact_detector
from ptq_pipeline.tasks.decoders import CentreStride

# Places whose distance from a box's centre is at most so many strides are to find it.
CENTRE = 1.5


class Objects(NamedTuple):
    """Objects of one image: corners (objects, 4) in pixels, classes (objects,)."""

    corners: NDArray[np.float32]
    classes: NDArray[np.int64]


def targets(found: Objects, decoder: CentreStride) -> tuple[NDArray[np.int64], NDArray]:
    """Return the class (-1 for none) and the corners that each place of the maps is to find.

    A place finds the smallest box that holds it and whose centre is near.
    """
    places = decoder.places()
    wanted = np.full(len(places), -1, dtype=np.int64)
    corners = np.zeros((len(places), 4), dtype=np.float32)
    sides = found.corners[:, 2:] - found.corners[:, :2]
    for each in np.argsort(-sides.prod(axis=1), kind="stable"):
        left, top, right, bottom = found.corners[each]
        centre = np.array([(left + right) / 2, (top + bottom) / 2])
        near = np.abs(places[:, :2] - centre).max(axis=1) <= CENTRE * places[:, 2]
        within = (places[:, 0] > left) & (places[:, 0] < right)
        within &= (places[:, 1] > top) & (places[:, 1] < bottom)
        chosen = near & within
        wanted[chosen], corners[chosen] = found.classes[each], found.corners[each]
    return wanted, corners


class Training(NamedTuple):
    """How a detector is trained: AdamW, one-cycle schedule, averaged weights, one thread."""

    epochs: int
    seed: int = 1
    batch: int = 64
    peak: float = 4e-3


def train(
    images: NDArray[np.uint8],
    objects: Sequence[Objects],
    decoder: CentreStride,
    preprocessing: Preprocessing,
    training: Training,
) -> tuple[dict[str, Tensor], list[float]]:
    """Train with focal and generalised IoU loss; return averaged weights and losses by epoch."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        model = compact_detector(images.shape[1], decoder.classes)
    model = model.to(memory_format=torch.channels_last)
    generator = torch.Generator().manual_seed(training.seed)
    made = [targets(each, decoder) for each in objects]
    wanted = torch.from_numpy(np.stack([each[0] for each in made]))
    corners = torch.from_numpy(np.stack([each[1] for each in made]))
    places = torch.from_numpy(decoder.places())
    optimizer = torch.optim.AdamW(model.parameters(), lr=training.peak / 2, weight_decay=0.02)
    steps = len(images) // training.batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, training.peak, total_steps=training.epochs * steps
    )
    averaged, losses = copy.deepcopy(model), []
    for epoch in range(training.epochs):
        total = 0.0
        order = torch.randperm(len(images), generator=generator)
        for step in range(steps):
            rows = order[step * training.batch : (step + 1) * training.batch]
            batch = torch.from_numpy(preprocessing(images[rows.numpy()]))
            loss = _loss(model, batch, (wanted[rows], corners[rows]), places)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
            schedule.step()
            total += loss.item()
            _average(averaged, model, min(0.998, (epoch * steps + step) / 100))
        losses.append(total / steps)
        print(f"epoch {epoch + 1} of {training.epochs}: loss {losses[-1]:.3f}", flush=True)
    kept = {
        name: value.contiguous()
        for name, value in averaged.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    return kept, losses


def _loss(model: nn.Module, batch: Tensor, sought: tuple[Tensor, Tensor], places: Tensor) -> Tensor:
    wanted, corners = sought
    with torch.autocast("cpu", torch.bfloat16):
        output = model(batch.contiguous(memory_format=torch.channels_last))
    output = output.float()
    positive = wanted >= 0
    hot = nn.functional.one_hot(wanted.clamp(min=0), output.shape[2] - 4) * positive[..., None]
    count = positive.sum().clamp(min=1)
    focal = sigmoid_focal_loss(output[..., 4:], hot.float(), reduction="sum") / count
    here = places.expand(len(batch), -1, -1)[positive]
    far = output[..., :4][positive].clamp(max=5).exp() * here[:, 2:]
    found = here[:, [0, 1, 0, 1]] + torch.tensor([-1.0, -1.0, 1.0, 1.0]) * far
    overlap = generalized_box_iou_loss(found, corners[positive], reduction="sum") / count
    return focal + overlap


@torch.no_grad()
def _average(target: nn.Module, source: nn.Module, decay: float) -> None:
    for kept, now in zip(target.state_dict().values(), source.state_dict().values(), strict=True):
        if kept.dtype.is_floating_point:
            kept.lerp_(now, 1 - decay)
        else:
            kept.copy_(now)
