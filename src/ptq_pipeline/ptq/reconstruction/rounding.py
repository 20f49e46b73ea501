"""Learned rounding of one weight: AdaRound (Nagel et al., ICML 2020, arXiv 2004.10568).

Each code is ``clamp(floor(w / s) + h(a) + z, qmin, qmax)`` with the rectified sigmoid ``h(a) =
clamp(sigmoid(a) (zeta - gamma) + gamma, 0, 1)``, ``zeta = 1.1``, ``gamma = -0.1``. ``a`` starts
where ``h(a)`` is the fractional part of ``w / s``, so the soft weight starts as the float one. The
regulariser ``sum (1 - |2 h - 1|^beta)`` pushes every h to 0 or 1 as beta falls.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from ptq_pipeline.ptq.parameters import WeightParameters
from ptq_pipeline.ptq.reconstruction.config import Reconstruction

GAMMA, ZETA = -0.1, 1.1


class SoftWeight:
    """The rounding variables of one layer.

    Args:
        target: float weight ``(C_out, ...)`` that is rounded.
        initial: scales, zero points and integers to stay within.
    """

    def __init__(self, target: Tensor, initial: WeightParameters) -> None:
        shape = (-1,) + (1,) * (target.ndim - 1)
        self.initial = initial
        self.scale = torch.from_numpy(initial.scale).to(target.device).reshape(shape)
        self.zero_point = torch.from_numpy(initial.zero_point).to(target.device).reshape(shape)
        self.floor = torch.floor(target / self.scale)
        rest = target / self.scale - self.floor
        self.alpha = nn.Parameter(initial_alpha(rest))

    def up(self) -> Tensor:
        """Return ``h(a)``: how far each weight is rounded up."""
        return rectified_sigmoid(self.alpha)

    def soft(self) -> Tensor:
        """Return the weight with the present ``h(a)``; gradients go to ``a``."""
        return self._real(self.floor + self.up())

    def hard(self) -> WeightParameters:
        """Return the integers: up where ``h(a) >= 0.5``."""
        with torch.no_grad():
            codes = self._codes(self.floor + (self.up() >= 0.5))
        return WeightParameters(
            codes.cpu().numpy().astype(self.initial.codes.dtype),
            self.initial.scale,
            self.initial.zero_point,
            self.initial.scheme,
        )

    def regularizer(self, beta: float) -> Tensor:
        """Return ``sum (1 - |2 h(a) - 1|^beta)``."""
        return (1.0 - (2.0 * self.up() - 1.0).abs().pow(beta)).sum()

    def _codes(self, steps: Tensor) -> Tensor:
        scheme = self.initial.scheme
        return (steps + self.zero_point).clamp(scheme.qmin, scheme.qmax)

    def _real(self, steps: Tensor) -> Tensor:
        return (self._codes(steps) - self.zero_point) * self.scale


def rectified_sigmoid(alpha: Tensor) -> Tensor:
    """Return ``clamp(sigmoid(a) (zeta - gamma) + gamma, 0, 1)``."""
    return (torch.sigmoid(alpha) * (ZETA - GAMMA) + GAMMA).clamp(0.0, 1.0)


def initial_alpha(rest: Tensor) -> Tensor:
    """Return ``a`` with ``h(a) = rest``, for fractional parts in ``[0, 1)``."""
    return -torch.log((ZETA - GAMMA) / (rest - GAMMA) - 1.0)


def beta_at(step: int, config: Reconstruction) -> float | None:
    """Return beta of a step from 0, or None while the regulariser is off.

    It falls from ``beta_start`` to ``beta_end`` linearly (BRECQ, QDrop) or by cosine (AIMET).
    """
    steps, start, end = config.iterations, config.beta_start, config.beta_end
    first = config.warmup * steps
    if step < first:
        return None
    share = (step - first) / max(steps - first, 1.0)
    if config.annealing == "cosine":
        return end + 0.5 * (start - end) * (1.0 + float(np.cos(np.pi * share)))
    return end + (start - end) * max(0.0, 1.0 - share)
