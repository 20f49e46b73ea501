"""What nodes hand on in memory as it is."""

from typing import Any, Self


class HandedOn:
    """Nobody changes it, and its images may be larger than memory."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # Kedro's datasets in memory copy whatever they hold.
        return self


class _Unchanged(HandedOn):
    def __repr__(self) -> str:
        return "UNCHANGED"


# What a node hands on that had nothing to do: datasets leave what they store as it is.
UNCHANGED = _Unchanged()
