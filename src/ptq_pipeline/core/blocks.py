"""How many images are worked on at a time, so that memory does not grow with their size."""

from collections.abc import Sequence
from math import prod

# Values of the images of one batch: 50 of 64 x 64 pixels in three channels, or 4 of 224 x 224.
# What a network makes of them is a hundred times as much.
MOST_VALUES = 50 * 3 * 64 * 64


def at_a_time(shape: Sequence[int], most: int, values: int = MOST_VALUES) -> int:
    """Return how many images of a shape ``(C, H, W)`` make a batch, of ``most`` at the most.

    A batch holds as many ``values`` at the most.

    Example:
        >>> at_a_time((1, 28, 28), 50), at_a_time((3, 224, 224), 50), at_a_time((3, 900, 900), 50)
        (50, 4, 1)
    """
    return max(1, min(most, values // max(1, prod(shape))))
