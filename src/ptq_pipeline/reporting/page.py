"""Put the report together: tables and figures into one HTML file that needs nothing else."""

import json
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from ptq_pipeline.judgement.decision import Execution
from ptq_pipeline.judgement.summary import SpreadCell
from ptq_pipeline.reporting import (
    artifact,
    business,
    formatting,
    frames,
    records,
    sections,
    tables,
)
from ptq_pipeline.reporting.checks import check_same_audit
from ptq_pipeline.reporting.first_screen import first_screen, open_questions
from ptq_pipeline.reporting.inputs import ReportInputs, ReportOptions
from ptq_pipeline.reporting.texts import Texts, load_texts
from ptq_pipeline.reporting.wording import shift_name

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATE = "report.html.j2"


# Inches from which a figure gets the whole width: seven shifts.
WIDE = 9.0


@dataclass(frozen=True)
class EmbeddedFigure:
    """A figure with the words that stand for it: ``alt`` for those who do not see it.

    A ``wide`` one takes the whole width of the page, and scrolls on a phone.
    """

    name: str
    svg: str
    alt: str
    caption: str
    wide: bool


def render_report(inputs: ReportInputs, options: ReportOptions) -> str:
    """Write the report.

    Args:
        inputs: Documents and tables of one audit.
        options: How it looks.

    Returns:
        A complete HTML document (also well-formed XML) that refers to no other file or host. The
        same inputs give the same bytes.

    Raises:
        InputError: If the inputs come from different audits or lack what a section needs.
    """
    check_same_audit(inputs)
    texts = load_texts(options.language)
    environment = _environment(texts, options)
    return environment.get_template(TEMPLATE).render(_context(inputs, options, texts))


def _environment(texts: Texts, options: ReportOptions) -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined

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
        points=partial(formatting.points, digits=2),
        percent=partial(formatting.percent, digits=2, template=texts.template("format.percent")),
        interval=partial(formatting.interval, digits=2, template=texts.template("format.interval")),
        number=formatting.number,
        shift_name=partial(shift_name, texts),
        count=formatting.count,
        count_interval=lambda bounds: texts(
            "format.interval", low=formatting.count(bounds[0]), high=formatting.count(bounds[1])
        ),
        clean=formatting.clean_text,
        short=partial(formatting.shorten, length=options.name_length),
    )
    return environment


def _context(inputs: ReportInputs, options: ReportOptions, texts: Texts) -> dict[str, Any]:
    from markupsafe import Markup

    verdict, decision = inputs.verdict, inputs.decision
    cells = SpreadCell.of_table(inputs.worst_case_table)
    shifts = frames.shift_order(inputs.scores["shift"].unique())
    ordered = frames.in_group_order(cells, inputs.group_definitions, shifts)
    worst = frames.worst_first(cell for cell in ordered if cell.level != "average")
    judged = [cell for cell in worst if cell.judged][: options.worst_cells]
    average = [cell for cell in ordered if cell.level == "average"]
    candidate, reasons = verdict.candidate, verdict.reasons
    expectations, expectations_clean = sections.expectation_table(
        texts, inputs.calibration_validation
    )
    classes = [str(name) for name in inputs.group_definitions["classes"]]
    drops = frames.strategy_drops(inputs.scores)
    everywhere = ordered if len(ordered) <= options.max_rows else [*average, *worst]
    make = partial(tables.cell_table, texts, max_rows=options.max_rows)
    return {
        "options": options,
        "css": Markup(_read("report.css")),
        "script": Markup(_read("report.js")),
        "script_hash": _content_security_hash(_read("report.js")),
        "first": first_screen(texts, inputs),
        "still_open": open_questions(texts, verdict) if decision.outcome == "refuse" else [],
        "verdict": verdict,
        "decision": decision,
        "recipe": verdict.recipe,
        "candidate": candidate,
        "figures": report_figures(inputs, options, texts),
        "reasons": tables.reasons_table(texts, "reasons.caption", reasons[: options.worst_cells]),
        "other_reasons": tables.reasons_table(
            texts, "reasons.caption_others", reasons[options.worst_cells :], options.max_rows
        ),
        "worst_table": make(texts("worst.caption"), [*judged, *average]),
        "all_cells": make(texts("worst.caption_all"), everywhere),
        "not_judged": tables.not_judged_table(texts, verdict.groups_not_judged, options.max_rows),
        "left_out": inputs.group_definitions.get("left_out", {}),
        "strategies": sections.strategy_table(texts, drops),
        "sets": sections.set_table(texts, inputs.calibration_set_index),
        "expectations": expectations,
        "expectations_clean": expectations_clean,
        "trials": sections.trial_table(texts, inputs.trials),
        "parity": sections.parity_table(
            texts, inputs.parity, candidate.trial_id, classes, options.max_rows
        ),
        "drift": sections.drift_blocks(texts, inputs.drift_table),
        **_candidate_parts(inputs, options, texts),
        **_manager_parts(inputs, options, texts),
        "log": records.log_table(texts, inputs.decision_log, options.max_rows),
        "origin": records.origin_facts(texts, inputs.machine),
        "made": records.trial_facts(texts, inputs.trials, inputs.calibration_set_index, candidate),
        "policy": _as_json(verdict.policy.to_json()),
        "parameters": [(name, _as_json(inputs.parameters[name])) for name in inputs.parameters],
        "candidate_files": sorted(decision.candidate.files.items()),
    }


def _candidate_parts(inputs: ReportInputs, options: ReportOptions, texts: Texts) -> dict[str, Any]:
    execution = inputs.candidate_execution or Execution()
    return {
        "lost_images": artifact.lost_images(texts, inputs.lost_images),
        "layers": artifact.layer_table(texts, inputs.worst_group_layers),
        "execution": artifact.execution_table(texts, execution),
        "other_files": artifact.other_files_table(texts, execution),
        "exported_parity": artifact.exported_parity_table(texts, execution, options.max_rows),
        "speed": artifact.speed_table(texts, inputs.candidate_speed),
        "speed_conditions": artifact.speed_conditions(texts, inputs.candidate_speed),
    }


def _manager_parts(inputs: ReportInputs, options: ReportOptions, texts: Texts) -> dict[str, Any]:
    view, comparison = inputs.verdict.business, inputs.champion_comparison
    reasons, cells = business.champion_tables(texts, comparison, options.max_rows)
    return {
        "money": business.money_lines(texts, view) if view else [],
        "assumptions": business.assumptions(texts, view),
        "business": business.business_table(texts, view, options.max_rows),
        "champion": business.champion_name(comparison),
        "champion_line": business.champion_line(texts, comparison),
        "champion_reasons": reasons,
        "champion_cells": cells,
        "not_compared": [
            shift_name(texts, shift) for shift in (comparison.not_compared if comparison else ())
        ],
    }


def report_figures(
    inputs: ReportInputs, options: ReportOptions, texts: Texts
) -> dict[str, EmbeddedFigure]:
    """Draw the report's figures as inline SVG, by name."""
    from markupsafe import Markup

    from ptq_pipeline.reporting import gallery
    from ptq_pipeline.reporting.embedding import inline_svg

    embedded = {}
    for name, draw in gallery.FIGURES.items():
        drawing = draw(inputs.worst_case_table, inputs.scores, inputs.group_definitions, options)
        embedded[name] = EmbeddedFigure(
            name,
            Markup(inline_svg(drawing.figure, name)),
            texts(f"alt.{name}", **drawing.words),
            texts(f"caption.{name}", **drawing.words),
            wide=drawing.figure.get_figwidth() > WIDE,
        )
    return embedded


def _as_json(value: object) -> str:
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)


def _content_security_hash(script: str) -> str:
    """Name the one script that the page's policy lets run."""
    import base64
    import hashlib

    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _read(name: str) -> str:
    from importlib import resources

    folder = resources.files("ptq_pipeline.reporting").joinpath("templates")
    return folder.joinpath(name).read_text(encoding="utf-8")
