"""How cells and numbers are named in sentences for people."""

from __future__ import annotations


def points(fraction: float) -> str:
    """A fraction of accuracy as points, e.g. ``8.8 points``."""
    text = f"{100 * fraction:.1f}"
    return f"{'0.0' if text == '-0.0' else text} points"


def group_name(level: str, group: str) -> str:
    """A group with its level, e.g. ``class Sandal``."""
    return "the average" if level == "average" else f"{level} {group}"


def cell_name(level: str, group: str, shift: str) -> str:
    """A group with its shift, e.g. ``class Sandal under gaussian_noise``."""
    return f"{group_name(level, group)} under {shift}"


def plural(count: int, noun: str) -> str:
    """A count with its noun, e.g. ``1 draw`` or ``3 draws``."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
