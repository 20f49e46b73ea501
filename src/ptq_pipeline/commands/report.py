"""`kedro ptq report` and `card`: what people read."""

import json
import typing
from pathlib import Path

import click

from ptq_pipeline.commands.command import Answer
from ptq_pipeline.commands.options import language_option, output_option
from ptq_pipeline.commands.project_command import project_command
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.files import write_file
from ptq_pipeline.core.names import VERDICT_FILE
from ptq_pipeline.judgement.verdict import Verdict
from ptq_pipeline.pipelines.reporting import nodes
from ptq_pipeline.pipelines.reporting.pipeline import REPORT_INPUTS
from ptq_pipeline.project import Project
from ptq_pipeline.reporting.card import model_card
from ptq_pipeline.reporting.results import ReportingParameters
from ptq_pipeline.reporting.texts import load_texts


@project_command(epilog="Example: kedro ptq report --language ja -o report_ja.html")
@language_option
@output_option()
def report(project: Project, language: str | None, output: Path | None) -> Answer:
    """Write the report of the last audit again, from its tables; nothing is computed again."""
    if language is not None:
        load_texts(language)  # refuses one that there is none of
    models = typing.get_type_hints(nodes.write_report)
    values = {
        key: project.settings(name.removeprefix("params:"), models[key])
        if name.startswith("params:")
        else project.load(name)
        for key, name in REPORT_INPUTS.items()
        if name.startswith("params:") or project.has(name)
    }
    if language is not None:
        changed = values["parameters"].model_dump() | {"language": language}
        values["parameters"] = ReportingParameters.model_validate(changed)
    html = nodes.write_report(**values)
    if output is None:
        project.save("report", html)
    else:
        write_file(output, html.encode())
    written = str(output or values["parameters"].report_path)
    return Answer({"report": written}, [written])


@project_command(epilog="Example: kedro ptq card v0002 -o MODEL_CARD.md")
@click.argument("version", required=False)
@language_option
@output_option()
def card(
    project: Project, version: str | None, language: str | None, output: Path | None
) -> Answer:
    """Write the model card of a promoted version: which groups lose how much.

    Without VERSION that of the champion.
    """
    registry = project.load("registry")
    promotions = registry.log.read().promotions
    champion = registry.champion()
    chosen = version or (champion.version if champion else None)
    if chosen not in promotions:
        known = ", ".join(promotions) or "none yet"
        raise InputError(
            f"there is no card of {chosen or 'the champion'}: the promoted versions are {known}"
        )
    verdict = json.loads((registry.folder(chosen) / VERDICT_FILE).read_text("utf-8"))
    spoken = language or project.group("reporting").get("language", "en")
    text = model_card(promotions[chosen].to_json(), Verdict.read(verdict), spoken)
    if output is None:
        return Answer({"version": chosen, "card": text}, [text])
    write_file(output, text.encode())
    return Answer({"version": chosen, "card": text}, [str(output)])
