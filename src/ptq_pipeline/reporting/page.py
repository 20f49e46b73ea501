"""Put the report together: tables and figures into one HTML file that needs nothing else."""

import base64
import hashlib
from functools import partial
from importlib import resources
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ptq_pipeline.judgement.verdict import Verdict
from ptq_pipeline.reporting.background import Background
from ptq_pipeline.reporting.business import Worth
from ptq_pipeline.reporting.detector import DetectorPart
from ptq_pipeline.reporting.diagnosis import Diagnosis
from ptq_pipeline.reporting.figures import FIGURES
from ptq_pipeline.reporting.figures.style import inline_svg
from ptq_pipeline.reporting.findings import Findings
from ptq_pipeline.reporting.first_screen import FirstScreen
from ptq_pipeline.reporting.formats import clean_text, count, number, points, shorten
from ptq_pipeline.reporting.results import AuditResults, ReportingParameters
from ptq_pipeline.reporting.reviewer import Reviewer
from ptq_pipeline.reporting.tables import Part
from ptq_pipeline.reporting.texts import Texts, texts_about
from ptq_pipeline.reporting.words import Words

TEMPLATE = "report.html.j2"
# Each part fills one template.
PARTS: dict[str, type[Part]] = {
    "first": FirstScreen,
    "words": Words,
    "diagnosis": Diagnosis,
    "findings": Findings,
    "detector": DetectorPart,
    "background": Background,
    "worth": Worth,
    "reviewer": Reviewer,
}
SECTIONS = (
    *("diagnosis", "reasons", "worst", "lost_images", "distribution", "heat_map", "layers"),
    *("strategies", "sets", "artifact", "drift", "business", "champion", "reviewer"),
)
OF_TABLES = ("reasons", "worst", "distribution", "heat_map", "reviewer")
SECTION_OF = {
    "worst_groups": "worst",
    "drop_distribution": "distribution",
    "group_shift_heatmap": "heat_map",
    "strategy_comparison": "strategies",
}
# Inches from which a figure gets the whole width: seven shifts.
WIDE = 9.0


class EmbeddedFigure(NamedTuple):
    """A figure with its caption, and with ``alt`` for those who do not see it.

    A ``wide`` one takes the whole width of the page, and scrolls on a phone.
    """

    svg: str
    alt: str
    caption: str
    wide: bool


def render_report(audit: AuditResults, options: ReportingParameters) -> str:
    """Write the report.

    Returns:
        A complete HTML document (also well-formed XML) that refers to no other file or host. The
        same results give the same bytes.

    Raises:
        InputError: If the results come from different audits or lack what a section needs.
    """
    audit.check()
    texts = texts_about(audit.verdict, options.language)
    title = options.title or texts("page.title")
    return rendered(
        TEMPLATE,
        texts,
        options,
        page_title=f"{texts(f'badge.{audit.verdict.result}')}: {title}",
        verdict=audit.verdict,
        decision=audit.decision,
        figures=report_figures(audit, options, texts),
        sections=sections(audit.verdict),
        **{name: part(audit, options, texts) for name, part in PARTS.items()},
    )


def rendered(template: str, texts: Texts, options: ReportingParameters, **values: Any) -> str:
    """Fill a template of a whole page, with the style and the one script of all pages."""
    script = _read("report.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        _environment(texts, options)
        .get_template(template)
        .render(
            options=options,
            language=options.language,
            css=Markup(_read("report.css")),
            script=Markup(script),
            # Names the one script that the page's policy lets run.
            script_hash=f"sha256-{digest}",
            **values,
        )
    )


def sections(verdict: Verdict) -> tuple[str, ...]:
    """The sections of a report: of outcomes that a table gave less is known."""
    if verdict.source is None:
        return SECTIONS
    drawn = verdict.recipe.result != "NONE"
    return tuple(name for name in OF_TABLES if drawn or name != "distribution")


def _environment(texts: Texts, options: ReportingParameters) -> Environment:
    environment = Environment(
        loader=PackageLoader("ptq_pipeline.reporting", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals["t"] = texts
    environment.filters.update(
        shown=texts.shown,
        points=partial(points, digits=2),
        number=number,
        shift_name=texts.shift_name,
        count=count,
        clean=clean_text,
        short=partial(shorten, length=options.name_length),
    )
    return environment


def report_figures(
    audit: AuditResults, options: ReportingParameters, texts: Texts
) -> dict[str, EmbeddedFigure]:
    """Draw the report's figures as inline SVG, by name."""
    embedded = {}
    shown = sections(audit.verdict)
    for name, draw in FIGURES.items():
        if SECTION_OF[name] not in shown:
            continue
        figure, words = draw(audit, options)
        words = {**words, "confidence": texts.percent(1 - audit.verdict.policy.alpha, 0)}
        embedded[name] = EmbeddedFigure(
            Markup(inline_svg(figure, name)),
            texts(f"alt.{name}", **words),
            texts(f"caption.{name}", **words),
            wide=figure.get_figwidth() > WIDE,
        )
    return embedded


def _read(name: str) -> str:
    folder = resources.files("ptq_pipeline.reporting").joinpath("templates")
    return folder.joinpath(name).read_text(encoding="utf-8")
