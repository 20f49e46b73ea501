"""Rounding in closed form: the error of each weight is compensated by those not rounded yet.

Frantar, Alistarh: Optimal Brain Compression (NeurIPS 2022, arXiv 2208.11580) and GPTQ (ICLR 2023,
arXiv 2210.17323). Per layer with inputs X (columns of patches behind the quantized part) the error
``|W X_float - W_q X|^2`` is minimised: first ``W* = W X_float X^T (X X^T)^-1``, the best float
weight for the inputs that it will really get, then column by column rounding with the Cholesky
factor of ``(X X^T)^-1``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ptq_pipeline.ptq.hooks import during, visit_input
from ptq_pipeline.ptq.parameters import WeightParameters
from ptq_pipeline.ptq.quantizer import column
from ptq_pipeline.ptq.reconstruction.learning import UnitLearning
from ptq_pipeline.ptq.reconstruction.units import IMAGES_AT_A_TIME

DAMPING = 0.01


def second_order_weights(learning: UnitLearning, targets: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return for each layer the weight right before its rounding; its nearest codes are the result.

    Layers of a unit are done in call order, each behind the rounded ones before it. What is neither
    Linear nor a zero-padded 2-d convolution keeps its float weight, see `has_columns`.
    """
    model = learning.model
    found = {}
    for name in learning.unit.layers:
        module = model.root.get_submodule(name)
        if not has_columns(module):
            found[name] = targets[name]
            continue
        initial = model.base.layers[name].weight
        found[name] = _rounded(targets[name], *_moments(learning, name), initial)
        scale, zero = (column(each, found[name]) for each in _grid(initial))
        model.set_weight(name, _nearest(found[name], scale, zero, initial))
    return found


def has_columns(module: nn.Module) -> bool:
    """Whether a layer's output is a product with columns of patches: what the closed form needs."""
    if isinstance(module, nn.Conv2d):
        return module.padding_mode == "zeros" and not isinstance(module.padding, str)
    return isinstance(module, nn.Linear)


def _moments(learning: UnitLearning, name: str) -> tuple[Tensor, Tensor]:
    """Return ``X X^T`` and ``X_float X^T`` per group, float64 ``(groups, n, n)``."""
    root, reference = learning.model.root, learning.model.prepared.module
    module = root.get_submodule(name)
    seen: dict[str, Tensor] = {}

    def keep(which: str, values: Tensor) -> None:
        seen[which] = values.detach()

    hooks = [
        visit_input(module, "quantized", keep),
        visit_input(reference.get_submodule(name), "float", keep),
    ]
    total = cross = None
    with torch.no_grad(), during(hooks):
        for chosen in torch.arange(len(learning.inputs)).split(IMAGES_AT_A_TIME):
            learning.unit.run(root, learning.inputs[chosen])
            learning.unit.run(reference, learning.float_inputs[chosen])
            x, y = (_patches(module, seen[which]) for which in ("quantized", "float"))
            products = (x @ x.mT).double(), (y @ x.mT).double()
            total = products[0] if total is None else total + products[0]
            cross = products[1] if cross is None else cross + products[1]
    assert total is not None and cross is not None
    return total, cross


def _patches(module: nn.Module, values: Tensor) -> Tensor:
    """Return what each output is a product with, as columns: ``(groups, n, columns)``."""
    if isinstance(module, nn.Linear):
        return values.reshape(1, -1, values.shape[-1]).mT
    assert isinstance(module, nn.Conv2d) and not isinstance(module.padding, str)
    (top, left), (up, aside) = module.padding, module.dilation
    padded = functional.pad(values, (left, left, top, top)).transpose(0, 1)
    windows = padded
    for axis, size, step, between in zip(
        (2, 3), module.kernel_size, module.stride, (up, aside), strict=True
    ):
        windows = windows.unfold(axis, between * (size - 1) + 1, step)
    windows = windows[..., ::up, ::aside].permute(0, 4, 5, 1, 2, 3)
    return windows.reshape(module.groups, -1, windows[0, 0, 0].numel())


def _rounded(weight: Tensor, moments: Tensor, cross: Tensor, initial: WeightParameters) -> Tensor:
    """Return the compensated weight of one layer, each column as it is when it is rounded."""
    groups, size = moments.shape[:2]
    rows = weight.double().reshape(groups, len(weight) // groups, -1)
    eye = torch.eye(size, dtype=torch.float64, device=weight.device)
    mean = moments.diagonal(dim1=1, dim2=2).mean(1).clamp(min=1e-12)
    damping = DAMPING * mean[:, None, None] * eye
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(moments + damping))
    # Damping pulls towards the float weight, not towards zero.
    best = (rows @ (cross + damping)) @ inverse
    factor = torch.linalg.cholesky(inverse, upper=True)
    scale, zero = (each.double().reshape(groups, -1) for each in _grid(initial))
    before = torch.empty_like(best)
    for place in range(size):
        values = best[:, :, place]
        before[:, :, place] = values
        error = (values - _nearest(values, scale, zero, initial)) / factor[:, place, place, None]
        best[:, :, place:] -= error[:, :, None] * factor[:, None, place, place:]
    return before.reshape(weight.shape).float()


def _grid(initial: WeightParameters) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(initial.scale), torch.from_numpy(initial.zero_point)


def _nearest(weight: Tensor, scale: Tensor, zero: Tensor, initial: WeightParameters) -> Tensor:
    codes = (torch.round(weight / scale) + zero).clamp(initial.scheme.qmin, initial.scheme.qmax)
    return (codes - zero) * scale
