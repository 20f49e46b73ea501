"""A compact detector without anchors, for the composed scenes and for small studies."""

from torch import Tensor, nn

from ptq_pipeline.models.architectures import BasicBlock


class CompactDetector(nn.Module):
    """Input (N, channels, H, W), output (N, H W / 64, 4 + classes), see `CentreStride`.

    A stem and three residual stages; what stride 16 sees is added to the map of stride 8, which
    finds the objects. 0.42 million parameters.
    """

    def __init__(self, channels: int = 1, classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(channels, 24, 3, 2, 1, bias=False), nn.BatchNorm2d(24), nn.ReLU()
        )
        self.body = nn.Sequential(BasicBlock(24, 48, 2), BasicBlock(48, 64, 2))
        self.context = nn.Sequential(BasicBlock(64, 96, 2), nn.Upsample(scale_factor=2.0))
        self.lateral = nn.Conv2d(64, 96, 1)
        self.head = nn.Sequential(BasicBlock(96, 96, 1), nn.Conv2d(96, 4 + classes, 1))
        self.flatten = nn.Flatten(2)
        # Most places find nothing; see Lin et al., Focal Loss, ICCV 2017, section 3.3.
        nn.init.constant_(self.head[1].bias[4:], -4.0)

    def forward(self, x: Tensor) -> Tensor:
        """Return distances and logits of every place."""
        x = self.body(self.stem(x))
        maps = self.head(self.context(x) + self.lateral(x))
        return self.flatten(maps).transpose(1, 2)


def compact_detector(channels: int = 1, classes: int = 10) -> CompactDetector:
    """Build the detector with fresh weights."""
    return CompactDetector(channels, classes)
