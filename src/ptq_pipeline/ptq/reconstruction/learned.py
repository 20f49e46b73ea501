"""What reconstruction learns: the rounding of weights, and the scales of activations.

*Rounding* (AdaRound, Nagel et al., ICML 2020, arXiv 2004.10568): each code is ``clamp(floor(w / s)
+ h(a) + z, qmin, qmax)`` with the rectified sigmoid ``h(a) = clamp(sigmoid(a) (zeta - gamma) +
gamma, 0, 1)``, ``zeta = 1.1``, ``gamma = -0.1``. ``a`` starts where ``h(a)`` is the fractional part
of ``w / s``, so the soft weight starts as the float one. The regulariser ``sum (1 - |2 h -
1|^beta)`` pushes every h to 0 or 1 as beta falls.

*Scales* (LSQ, Esser et al., ICLR 2020): the gradient of the scale is that of ``x_hat = s
(clamp(round(x / s) + z) - z)`` with the rounding taken as the identity; the zero point stays, so
zero stays representable. With ``keep`` below 1 an element is left in float with probability ``1 -
keep`` (QDrop, Wei et al., ICLR 2022).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ptq_pipeline.ptq.parameters import ActivationParameters, WeightParameters
from ptq_pipeline.ptq.quantizer import column
from ptq_pipeline.ptq.reconstruction.config import Reconstruction

GAMMA, ZETA = -0.1, 1.1
MIN_SCALE = 1e-8


class SoftWeight:
    """The rounding variables of one float weight ``(C_out, ...)`` on the grid of `initial`."""

    def __init__(self, target: Tensor, initial: WeightParameters) -> None:
        self.initial = initial
        self.scale = column(torch.from_numpy(initial.scale).to(target.device), target)
        self.zero_point = column(torch.from_numpy(initial.zero_point).to(target.device), target)
        self.floor = torch.floor(target / self.scale)
        rest = target / self.scale - self.floor
        self.alpha = nn.Parameter(-torch.log((ZETA - GAMMA) / (rest - GAMMA) - 1.0))

    def up(self) -> Tensor:
        """Return ``h(a)``: how far each weight is rounded up."""
        return (torch.sigmoid(self.alpha) * (ZETA - GAMMA) + GAMMA).clamp(0.0, 1.0)

    def soft(self) -> Tensor:
        """Return the weight with the present ``h(a)``; gradients go to ``a``."""
        return (self._codes(self.floor + self.up()) - self.zero_point) * self.scale

    def hard(self) -> WeightParameters:
        """Return the integers: up where ``h(a) >= 0.5``."""
        with torch.no_grad():
            codes = self._codes(self.floor + (self.up() >= 0.5))
        return replace(self.initial, codes=codes.cpu().numpy().astype(self.initial.codes.dtype))

    def regularizer(self, beta: float) -> Tensor:
        """Return ``sum (1 - |2 h(a) - 1|^beta)``."""
        return (1.0 - (2.0 * self.up() - 1.0).abs().pow(beta)).sum()

    def _codes(self, rounded: Tensor) -> Tensor:
        scheme = self.initial.scheme
        return (rounded + self.zero_point).clamp(scheme.qmin, scheme.qmax)


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


class LearnedQuantizer:
    """One activation quantizer of the model under reconstruction.

    Attributes:
        initial: where it starts from.
        scale: float32 parameter ``()``.
        enabled: it lets everything through when not.
        keep: probability that an element is quantized.
    """

    def __init__(self, initial: ActivationParameters, rng: np.random.Generator) -> None:
        self.initial = initial
        self.scale = nn.Parameter(torch.tensor(initial.scale, dtype=torch.float32))
        self.enabled = False
        self.keep = 1.0
        self._rng = rng

    def __call__(self, values: Tensor) -> Tensor:
        """Return ``values`` quantized, element by element with probability `keep`."""
        if not self.enabled:
            return values
        kept = None if self.keep >= 1.0 else kept_elements(values, self.keep, self._rng)
        scheme = self.initial.scheme
        low, high = scheme.qmin - self.initial.zero_point, scheme.qmax - self.initial.zero_point
        return _LearnedScale.apply(values, self.scale, low, high, kept)

    def reset(self) -> None:
        """Go back to the first scale."""
        with torch.no_grad():
            self.scale.fill_(self.initial.scale)

    def parameters(self) -> ActivationParameters:
        """Return the present scale."""
        return replace(self.initial, scale=max(float(self.scale.detach()), MIN_SCALE))


def kept_elements(like: Tensor, keep: float, rng: np.random.Generator) -> Tensor:
    """Return a random mask, True with probability ``keep`` (to 1/256)."""
    drawn = rng.integers(0, 256, like.numel(), dtype=np.uint8) < round(keep * 256)
    return torch.from_numpy(drawn).reshape(like.shape).to(like.device)


class _LearnedScale(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, values: Tensor, learned: Tensor, low: int, high: int, kept: Tensor | None
    ) -> Tensor:
        scale = learned.clamp(min=MIN_SCALE).item()
        rounded = torch.fake_quantize_per_tensor_affine(values, scale, -low, 0, high - low)
        passes = (values >= (low - 0.5) * scale) & (values <= (high + 0.5) * scale)
        if kept is not None:
            rounded = torch.where(kept, rounded, values)
            passes |= ~kept
        ctx.save_for_backward(values, rounded, passes)
        ctx.scale = scale
        return rounded

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        values, rounded, passes = ctx.saved_tensors
        passed = gradient * passes
        # Where an element passes in float, the two sums cancel.
        total = (gradient * rounded).sum() - (passed * values).sum()
        return passed, total.float() / ctx.scale, None, None, None
