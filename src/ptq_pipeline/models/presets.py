"""How the networks of torchvision want their images, for those who do not say it."""

from dataclasses import dataclass

TORCHVISION = "torchvision.models."


@dataclass(frozen=True)
class Preset:
    """Preprocessing of a network's published weights.

    Attributes:
        size: Side of the crop in pixels.
        resize: Length of the shorter side before the crop.
        interpolation: How it is resized.
        mean: Subtracted, by channel, on the scale [0, 1].
        std: Divided by, by channel.
    """

    size: int
    resize: int
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]


def preset_of(factory: str) -> Preset | None:
    """Return the preprocessing of a factory of torchvision; None for any other.

    Examples:
        >>> preset_of("torchvision.models.resnet18").size
        224
    """
    if not factory.startswith(TORCHVISION):
        return None
    from torchvision.models import get_model_weights

    try:
        found = get_model_weights(factory.rpartition(".")[2]).DEFAULT.transforms()
    except (ValueError, AttributeError):
        return None
    (size,), (resize,) = found.crop_size, found.resize_size
    interpolation = str(found.interpolation.value)
    return Preset(size, resize, interpolation, tuple(found.mean), tuple(found.std))
