"""The reference networks, for images of about 28 to 32 pixels."""

from torch import Tensor, nn

# Of MobileNetV2: expansion, channels, repeats, stride of the first repeat
STAGES = [(1, 16, 1, 1), (3, 24, 2, 2), (4, 32, 2, 1), (4, 64, 3, 2), (4, 96, 1, 1)]
STEM_CHANNELS, HEAD_CHANNELS = 16, 320


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with batch norm and a residual addition."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu1 = nn.ReLU()
        self.relu2 = nn.ReLU()
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Return ``relu(f(x) + shortcut(x))``."""
        y = self.relu1(self.bn1(self.conv1(x)))
        return self.relu2(self.bn2(self.conv2(y)) + self.shortcut(x))


class ResNet20(nn.Module):
    """ResNet-20 in the CIFAR style; input ``(N, in_channels, H, W)``, output ``(N, classes)``.

    He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, CVPR 2016, section 4.2: a 3x3
    stem of 16 channels, three stages of three basic blocks with 16, 32 and 64 channels, global
    average pooling, one linear layer. Shortcuts that change shape are 1x1 convolutions (option B of
    the paper).
    """

    def __init__(self, in_channels: int = 1, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU()
        blocks, width = [], 16
        for channels, stride in [(16, 1), (32, 2), (64, 2)]:
            for index in range(3):
                blocks.append(BasicBlock(width, channels, stride if index == 0 else 1))
                width = channels
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classifier = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        x = self.blocks(self.relu(self.bn1(self.conv1(x))))
        return self.classifier(self.flatten(self.pool(x)))


def resnet20(in_channels: int = 1, classes: int = 10) -> ResNet20:
    """Build a ResNet-20 with fresh weights (0.27 million parameters)."""
    return ResNet20(in_channels, classes)


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
        """Return the block's output."""
        y = self.layers(x)
        return x + y if self.residual else y


class MobileNetV2Small(nn.Module):
    """A depthwise network; input ``(N, in_channels, H, W)``, output ``(N, classes)``.

    Sandler et al.: MobileNetV2: Inverted Residuals and Linear Bottlenecks, CVPR 2018. Same block,
    with strides and widths for small images. Depthwise layers have very different ranges per
    channel, which is what makes this family the classic hard case for quantization.
    """

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
