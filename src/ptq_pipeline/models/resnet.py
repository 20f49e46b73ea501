"""ResNet-20 in the CIFAR style.

He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, CVPR 2016, section 4.2: a 3x3
stem of 16 channels, three stages of three basic blocks with 16, 32 and 64 channels, global average
pooling, one linear layer. Shortcuts that change shape are 1x1 convolutions (option B of the paper).
"""

from torch import Tensor, nn


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with batch norm and a residual addition.

    Input ``(N, in_channels, H, W)``, output ``(N, channels, H / stride, W / stride)``.
    """

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
    """ResNet-20; input ``(N, in_channels, H, W)`` float, output logits ``(N, classes)``."""

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
