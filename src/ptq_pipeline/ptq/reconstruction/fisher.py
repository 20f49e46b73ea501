"""Diagonal Fisher information of a unit's output, as the weight of each of its errors (BRECQ).

For each image the squared gradient, with respect to the unit's output, of the divergence ``KL(float
|| quantized)`` of the class probabilities, with everything up to the unit quantized. Scaled to mean
1, so that the rounding regulariser keeps its weight.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from ptq_pipeline.ptq.hooks import change_output, during
from ptq_pipeline.ptq.reconstruction.units import Unit
from ptq_pipeline.ptq.reconstruction.working import IMAGES_AT_A_TIME, WorkingModel


def importance(model: WorkingModel, unit: Unit, images: Tensor) -> Tensor:
    """Return the squared gradients, of the shape of the unit's output on all images."""
    kept: list[Tensor] = []

    def leaf(output: Tensor) -> Tensor:
        kept.append(output.detach().requires_grad_())
        return kept[-1]

    handle = change_output(model.root.get_submodule(unit.output), leaf)
    parts = []
    with during([handle]):
        for batch in images.split(IMAGES_AT_A_TIME):
            with torch.no_grad():
                target = model.prepared.module(batch).softmax(1)
            with torch.enable_grad():
                logits = model.root(batch)
                loss = functional.kl_div(logits.log_softmax(1), target, reduction="sum")
                (gradient,) = torch.autograd.grad(loss, kept.pop())
            parts.append(gradient.square())
    found = torch.cat(parts)
    mean = found.mean()
    # A unit whose error cannot reach the output has no preference.
    return found / mean if bool(mean > 0) else torch.ones_like(found)
