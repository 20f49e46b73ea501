"""Learned activation scales (LSQ, Esser et al., ICLR 2020) with QDrop's random mixing.

The gradient of the scale is that of ``x_hat = s (clamp(round(x / s) + z) - z)`` with the rounding
taken as the identity; the zero point stays, so zero stays representable. With ``keep`` below 1 an
element is left in float with probability ``1 - keep`` (QDrop, Wei et al., ICLR 2022).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ptq_pipeline.ptq.parameters import ActivationParameters

MIN_SCALE = 1e-8


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
