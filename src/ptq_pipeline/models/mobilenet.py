"""A small depthwise network in the style of MobileNetV2.

Sandler et al.: MobileNetV2: Inverted Residuals and Linear Bottlenecks, CVPR 2018. Same block, with
strides and widths for images of about 28 to 32 pixels. Depthwise layers have very different ranges
per channel, which is what makes this family the classic hard case for quantization.
"""

from torch import Tensor, nn

# expansion, channels, repeats, stride of the first repeat
STAGES = [(1, 16, 1, 1), (3, 24, 2, 2), (4, 32, 2, 1), (4, 64, 3, 2), (4, 96, 1, 1)]
STEM_CHANNELS, HEAD_CHANNELS = 16, 320


def _conv_bn(
    in_channels: int, channels: int, kernel: int, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    padding = kernel // 2
    conv = nn.Conv2d(in_channels, channels, kernel, stride, padding, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(channels)]


class InvertedResidual(nn.Module):
    """Expand 1x1, filter depthwise 3x3, project 1x1; residual when shapes agree."""

    def __init__(self, in_channels: int, channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = in_channels * expansion
        layers: list[nn.Module] = []
        if expansion != 1:
            layers += [*_conv_bn(in_channels, hidden, 1), nn.ReLU6()]
        layers += [*_conv_bn(hidden, hidden, 3, stride, groups=hidden), nn.ReLU6()]
        layers += _conv_bn(hidden, channels, 1)
        self.layers = nn.Sequential(*layers)
        self.residual = stride == 1 and in_channels == channels

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output; ``(N, C, H, W)`` in and out."""
        y = self.layers(x)
        return x + y if self.residual else y


class MobileNetV2Small(nn.Module):
    """Depthwise network; input ``(N, in_channels, H, W)`` float, output logits ``(N, classes)``."""

    def __init__(self, in_channels: int = 1, classes: int = 10) -> None:
        super().__init__()
        features: list[nn.Module] = [*_conv_bn(in_channels, STEM_CHANNELS, 3), nn.ReLU6()]
        width = STEM_CHANNELS
        for expansion, channels, repeats, stride in STAGES:
            for index in range(repeats):
                step = stride if index == 0 else 1
                features.append(InvertedResidual(width, channels, step, expansion))
                width = channels
        features += [*_conv_bn(width, HEAD_CHANNELS, 1), nn.ReLU6()]
        self.features = nn.Sequential(*features)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classifier = nn.Linear(HEAD_CHANNELS, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        return self.classifier(self.flatten(self.pool(self.features(x))))


def mobilenet_v2_small(in_channels: int = 1, classes: int = 10) -> MobileNetV2Small:
    """Build the network with fresh weights (0.3 million parameters)."""
    return MobileNetV2Small(in_channels, classes)
