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

from ptq_pipeline.ptq.parameters import WeightParameters
from ptq_pipeline.ptq.reconstruction.learning import Cache
from ptq_pipeline.ptq.reconstruction.units import Unit
from ptq_pipeline.ptq.reconstruction.working import IMAGES_AT_A_TIME, WorkingModel, layer_inputs

DAMPING = 0.01


def second_order_weights(
    model: WorkingModel, unit: Unit, cache: Cache, targets: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Return for each layer the weight right before its rounding; its nearest codes are the result.

    Layers of a unit are done in call order, each behind the rounded ones before it. What is neither
    Linear nor a zero-padded 2-d convolution keeps its float weight, see `has_columns`.
    """
    found = {}
    for name in unit.layers:
        module = model.root.get_submodule(name)
        if not has_columns(module):
            found[name] = targets[name]
            continue
        quantized, cross = _moments(model, unit, cache, name)
        found[name] = _rounded(
            targets[name],
            quantized,
            cross,
            model.initial_weights[name],
            groups=_groups_of(module),
        )
        model.set_weight(name, _nearest(found[name], model.initial_weights[name]))
    return found


def has_columns(module: nn.Module) -> bool:
    """Whether a layer's output is a product with columns of patches: what the closed form needs."""
    if isinstance(module, nn.Conv2d):
        return module.padding_mode == "zeros" and not isinstance(module.padding, str)
    return isinstance(module, nn.Linear)


def _groups_of(module: nn.Module) -> int:
    return int(getattr(module, "groups", 1))


def _moments(model: WorkingModel, unit: Unit, cache: Cache, name: str) -> tuple[Tensor, Tensor]:
    """Return ``X X^T`` and ``X_float X^T`` per group, float64 ``(groups, n, n)``."""
    module = model.root.get_submodule(name)
    totals: list[Tensor] = []
    crosses: list[Tensor] = []
    rows = torch.arange(len(cache.inputs)).split(IMAGES_AT_A_TIME)
    reference = model.prepared.module
    with (
        torch.no_grad(),
        layer_inputs(model.root, (name,)) as seen,
        layer_inputs(reference, (name,)) as wanted,
    ):
        for chosen in rows:
            model.run(unit, cache.inputs[chosen])
            unit.run(reference, cache.float_inputs[chosen])
            x, y = (_patches(module, values()[name].pop()) for values in (seen, wanted))
            totals = [sum(totals, (x @ x.mT).double())]
            crosses = [sum(crosses, (y @ x.mT).double())]
    return totals[0], crosses[0]


def _patches(module: nn.Module, values: Tensor) -> Tensor:
    """Return what each output is a product with, as columns: ``(groups, n, columns)``."""
    if isinstance(module, nn.Linear):
        return values.reshape(1, -1, values.shape[-1]).mT
    assert isinstance(module, nn.Conv2d) and not isinstance(module.padding, str)
    patches = functional.unfold(
        values, module.kernel_size, module.dilation, module.padding, module.stride
    )
    groups = module.groups
    split = patches.reshape(len(values), groups, -1, patches.shape[-1])
    return split.permute(1, 2, 0, 3).reshape(groups, split.shape[2], -1)


def _rounded(
    weight: Tensor, moments: Tensor, cross: Tensor, initial: WeightParameters, groups: int
) -> Tensor:
    """Return the compensated weight of one layer, each column as it is when it is rounded."""
    rows = weight.double().reshape(groups, len(weight) // groups, -1)
    size = moments.shape[-1]
    eye = torch.eye(size, dtype=torch.float64, device=weight.device)
    mean = moments.diagonal(dim1=1, dim2=2).mean(1).clamp(min=1e-12)
    damped = moments + DAMPING * mean[:, None, None] * eye
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    # Damping pulls towards the float weight, not towards zero.
    best = (rows @ (cross + DAMPING * mean[:, None, None] * eye)) @ inverse
    factor = torch.linalg.cholesky(inverse, upper=True)
    scale = torch.from_numpy(initial.scale).double().reshape(groups, -1)
    zero = torch.from_numpy(initial.zero_point).double().reshape(groups, -1)
    scheme = initial.scheme
    before = torch.empty_like(best)
    for column in range(size):
        values = best[:, :, column]
        before[:, :, column] = values
        codes = (torch.round(values / scale) + zero).clamp(scheme.qmin, scheme.qmax)
        error = (values - (codes - zero) * scale) / factor[:, column, column, None]
        best[:, :, column:] -= error[:, :, None] * factor[:, None, column, column:]
    return before.reshape(weight.shape).float()


def _nearest(weight: Tensor, initial: WeightParameters) -> Tensor:
    shape = (-1,) + (1,) * (weight.ndim - 1)
    scale = torch.from_numpy(initial.scale).reshape(shape)
    zero = torch.from_numpy(initial.zero_point).reshape(shape)
    scheme = initial.scheme
    return ((weight / scale).round() + zero).clamp(scheme.qmin, scheme.qmax).sub(zero) * scale
