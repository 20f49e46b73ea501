"""What a searched recipe costs in bytes against what its worst group loses."""

from collections.abc import Sequence

from ptq_pipeline.reporting.figures.style import (
    HARM,
    LIMIT,
    MUTED,
    SERIES,
    ReportFigure,
    new_figure,
    styled,
)

# Name, bytes, share of the limit that the worst group takes.
Point = tuple[str, int, float]


def front(points: Sequence[Point]) -> list[Point]:
    """Return the points of which none is smaller and loses less, by size.

    Example:
        >>> front([("a", 2, 0.5), ("b", 1, 0.9), ("c", 3, 0.7)])
        [('b', 1, 0.9), ('a', 2, 0.5)]
    """
    found: list[Point] = []
    for point in sorted(points, key=lambda each: (each[1], each[2])):
        if not found or point[2] < found[-1][2]:
            found.append(point)
    return found


@styled
def draw_pareto(points: Sequence[Point], configured: str) -> ReportFigure:
    """Draw the recipes of a search, the front among them, and the configured one."""
    figure = new_figure(4.8, 3.6)
    axes = figure.subplots()
    best = front(points)
    axes.axhline(100, color=LIMIT, linewidth=1, linestyle="--", label="limit")
    for point in points:
        name, size, share = point
        colour, marker = (SERIES, "o") if point in best else (MUTED, ".")
        if name == configured:
            colour, marker = HARM, "D"
        axes.plot(size / 1024, 100 * share, color=colour, marker=marker, linestyle="")
        if point in best or name == configured:
            place = {"textcoords": "offset points", "xytext": (5, 4), "fontsize": 8}
            axes.annotate(name, (size / 1024, 100 * share), **place)
    axes.set_xlabel("weights, scales and biases, KiB")
    axes.set_ylabel("worst group, % of its limit")
    axes.legend()
    return figure
