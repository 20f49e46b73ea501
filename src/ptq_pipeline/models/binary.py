"""Networks of two classes with one output."""

import torch
from torch import Tensor, nn


class SingleLogit(nn.Module):
    """A network that returns one logit ``(n, 1)`` or ``(n,)``, the second class's, as two.

    The first class has the logit 0, so the larger logit is the answer at a threshold of 0, which is
    a probability of one half.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits ``(n, 2)``."""
        logit = self.network(x).reshape(-1, 1)
        return torch.cat([torch.zeros_like(logit), logit], 1)
