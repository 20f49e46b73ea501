"""What nodes hand on in memory as it is."""

from typing import Any, Self


class HandedOn:
    """Nobody changes it, and its images may be larger than memory."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # Kedro's datasets in memory copy whatever they hold.
        return self
