"""One look for all figures, and files whose bytes depend on the numbers only.

Colours are those of Okabe and Ito (2008), which stay apart for colour-blind readers; every meaning
that a colour carries is also carried by a marker, a hatch or a word.
"""

import html
import io
import logging
import re
import warnings
from collections.abc import Callable
from functools import cache, wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np
from matplotlib import font_manager
from matplotlib import style as mpl_style
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ptq_pipeline.judgement.summary import SpreadCell
from ptq_pipeline.reporting.formats import count, points, shorten
from ptq_pipeline.reporting.states import BAD, GOOD, OPEN
from ptq_pipeline.reporting.texts import Texts, load_texts

log = logging.getLogger(__name__)

# Each is for one role. The report replaces them by CSS variables, so that an inline
# figure follows the reader's light or dark theme; files keep the values given here.
INK = "#16202c"
MUTED = "#566273"
LINE = "#d5dbe3"
PAPER = "#fefefe"
SERIES = GOOD
HARM = BAD
LIMIT = "#7a4b94"

STYLE: dict[str, Any] = {
    **{f"{text}size": 10.0 for text in ("font.", "axes.label", "xtick.label", "ytick.label")},
    **{f"{text}color": INK for text in ("text.", "axes.label", "xtick.label", "ytick.label")},
    **{f"{line}color": MUTED for line in ("axes.edge", "xtick.", "ytick.", "hatch.")},
    **{f"boxplot.{line}props.color": INK for line in ("box", "whisker", "median")},
    **{f"axes.spines.{side}": False for side in ("top", "right")},
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.facecolor": "none",
    "axes.grid.axis": "x",
    "axes.unicode_minus": True,
    "legend.fontsize": 9.0,
    "legend.frameon": False,
    "figure.facecolor": PAPER,
    "savefig.facecolor": "auto",
    "savefig.dpi": 150,
    "grid.color": LINE,
    "hatch.linewidth": 0.6,
    "text.parse_math": False,  # a group may be called "$5 - $10"
    "svg.fonttype": "none",
    "svg.hashsalt": "ptq_pipeline",
}

# Families with Japanese letters, the first that is installed is used for letters that the first
# family lacks. Without any of them Japanese labels of PNG files show boxes; those inside the report
# are text, drawn with the reader's own fonts.
JAPANESE_FONTS = (
    "Noto Sans CJK JP", "Noto Sans JP", "IPAexGothic", "IPAGothic", "TakaoGothic",
    "Hiragino Sans", "Yu Gothic", "Meiryo", "MS Gothic",
)  # fmt: skip


@cache
def japanese_font() -> str | None:
    """Give the first of `JAPANESE_FONTS` that is installed, or ``None``."""
    installed = set(font_manager.get_font_names())
    return next((name for name in JAPANESE_FONTS if name in installed), None)


@cache
def warn_without_font(language: str) -> None:
    """Say once per process that labels of figure files will be boxes, and what to install."""
    if language == "ja" and japanese_font() is None:
        log.warning(
            "report.language is 'ja' and no font with Japanese letters is installed: labels of PNG "
            "figures show boxes (the report itself is drawn with its reader's fonts); install one, "
            "such as Debian's package fonts-noto-cjk"
        )


def font_families() -> list[str]:
    """Give the families of all figures: the one that ships with matplotlib, then a fallback."""
    fallback = japanese_font()
    return ["DejaVu Sans"] if fallback is None else ["DejaVu Sans", fallback]


_METADATA: dict[str, dict[str, None]] = {
    "svg": {"Date": None, "Creator": None, "Format": None, "Type": None},
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def styled(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Run ``function`` under the report's style, whatever the user's matplotlibrc says."""

    @wraps(function)
    def wrapper(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        with mpl_style.context(["default", STYLE | {"font.family": font_families()}]):
            return function(*args, **kwargs)

    return wrapper


class ReportFigure(Figure):
    """A figure that brings its style along when somebody else, such as the catalog, saves it.

    Attributes:
        hovers: What a mark says under the pointer, by the mark's id.
    """

    hovers: dict[str, str]

    def hover(self, mark: Artist, says: str) -> None:
        """Let a page say this of ``mark`` under the pointer; see `inline_svg`."""
        name = f"mark{len(self.hovers)}"
        mark.set_gid(name)
        self.hovers[name] = says

    @styled
    def savefig(self, fname: Any, **kwargs: Any) -> None:
        """Save like ``Figure.savefig``, without dates and versions in the file."""
        suffix = str(fname).rpartition(".")[2] if isinstance(fname, str) else ""
        file_format = str(kwargs.setdefault("format", suffix or "png"))
        kwargs["metadata"] = {
            **_METADATA.get(file_format, {}),
            **(kwargs.get("metadata") or {}),
        }
        with warnings.catch_warnings():
            # Said once by `warn_without_font`, instead of once a letter.
            warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font")
            super().savefig(fname, **kwargs)


def new_figure(width: float, height: float) -> ReportFigure:
    """Give an empty figure of ``width`` x ``height`` inches that lays itself out.

    Figures are made under 5 inches wide: on a phone of 390 px a point of text is then about a
    pixel, so 10 point text can still be read without zooming.
    """
    figure = ReportFigure(figsize=(width, height), layout="constrained")
    figure.hovers = {}
    return figure


def figure_texts(language: str, of: str) -> Texts:
    """Give the words of figures, see `load_texts`; says once where their letters will be boxes."""
    warn_without_font(language)
    return load_texts(language, of)


def row_name(texts: Texts, level: str, group: str, length: int) -> str:
    """Name a group at the side of a figure."""
    return texts("group.all_images_short") if level == "average" else shorten(group, length)


def cell_words(texts: Texts, cell: SpreadCell) -> str:
    """Say all of a cell in one line."""
    return texts(
        "figure.hover_cell",
        group=texts("group.all_images_short") if cell.level == "average" else cell.group,
        shift=texts.shift_name(cell.shift),
        drop=points(cell.drop),
        mean=points(cell.drop_mean),
        limit=points(cell.limit),
        interval=texts.interval(cell.interval),
        status=texts(f"status.{cell.status}"),
        images=count(cell.n),
    )


def draws_words(texts: Texts, name: str, drops: NDArray[np.float64]) -> str:
    """Say in one line how the drops of ``name`` (fractions) differ over draws."""
    known = drops[~np.isnan(drops)]
    if not len(known):
        return name
    least, mean, most = (points(float(each)) for each in (known.min(), known.mean(), known.max()))
    return texts("figure.hover_draws", name=name, least=least, mean=mean, most=most, n=len(known))


_THEME = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    LINE: "var(--line)",
    PAPER: "var(--paper)",
    SERIES: "var(--series)",
    HARM: "var(--harm)",
    LIMIT: "var(--limit)",
    OPEN: "var(--open)",
}


def inline_svg(figure: ReportFigure, name: str) -> str:
    """Draw ``figure`` as an ``<svg>`` element inside an HTML page, which follows its theme.

    The element has a view box and no size, so CSS decides; its ids start with ``name``, so a page
    can hold several figures; text stays text. What has no place in a page is taken out: XML
    prolog, metadata, and the style sheet that would apply to the whole page. A mark says its value
    under the pointer.

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
    opening = r'<svg xmlns="http://www.w3.org/2000/svg" viewBox="\1" aria-hidden="true" '
    opening += 'focusable="false">'
    svg = re.sub(r'^<svg[^>]*?viewBox="([^"]+)"[^>]*>', opening, svg, count=1)
    svg = svg.replace("xlink:href=", "href=")
    for mark, says in figure.hovers.items():
        group = f'<g id="{mark}">'
        svg = svg.replace(group, f"{group}<title>{html.escape(says)}</title>")
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r'\bhref="#([^"]+)"', rf'href="#{name}-\1"', svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", svg)
    families = ", ".join(f"'{name}'" for name in font_families())
    svg = svg.replace(families, "system-ui, 'DejaVu Sans', sans-serif")
    for colour, variable in _THEME.items():
        svg = svg.replace(colour, variable)
    return svg
