"""A figure as inline SVG that follows the theme of the page around it."""

import io
import re
from typing import Final

from matplotlib.figure import Figure

from ptq_pipeline.reporting.figures import style

_THEME: Final = {
    style.INK: "var(--ink)",
    style.MUTED: "var(--muted)",
    style.LINE: "var(--line)",
    style.PAPER: "var(--paper)",
    style.SERIES: "var(--series)",
    style.HARM: "var(--harm)",
    style.LIMIT: "var(--limit)",
}


def inline_svg(figure: Figure, name: str) -> str:
    """Draw ``figure`` as an ``<svg>`` element to stand inside an HTML page.

    The element has a view box and no size, so CSS decides; its ids start with ``name``, so several
    figures can stand in one page; text stays text. What has no place in a page is taken out: XML
    prolog, metadata, and the style sheet that would apply to the whole page.

    Args:
        figure: The figure; it is not changed.
        name: Unique in the page, letters, digits and ``_``.

    Returns:
        Well-formed markup that refers to nothing outside itself.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", facecolor="none", transparent=True)
    svg = buffer.getvalue().decode("utf-8")
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"\s*<style[^>]*>.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'^<svg[^>]*?viewBox="([^"]+)"[^>]*>', _opening_tag, svg, count=1)
    svg = svg.replace("xlink:href=", "href=")
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r'\bhref="#([^"]+)"', rf'href="#{name}-\1"', svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", svg)
    families = ", ".join(f"'{name}'" for name in style.font_families())
    svg = svg.replace(families, "system-ui, 'DejaVu Sans', sans-serif")
    for colour, variable in _THEME.items():
        svg = svg.replace(colour, variable)
    return svg


def _opening_tag(match: re.Match[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{match.group(1)}" '
        'aria-hidden="true" focusable="false">'
    )
