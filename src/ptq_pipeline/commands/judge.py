"""`kedro ptq judge`: a verdict on outcomes that somebody else wrote, with or without a project."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import pandas as pd
import yaml

from ptq_pipeline.commands.command import Answer, command
from ptq_pipeline.commands.options import FILE
from ptq_pipeline.core.canonical import file_bytes
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.exits import ExitCode
from ptq_pipeline.core.files import remove, write_file
from ptq_pipeline.core.inputs import read_regular
from ptq_pipeline.core.names import VERDICT_FILE
from ptq_pipeline.judgement.decision import Decision
from ptq_pipeline.judgement.verdict import SourceFile, Verdict
from ptq_pipeline.reporting.summary import junit_report, pull_request_summary, three_lines
from ptq_pipeline.tasks.given import Crossing, given_outcomes
from ptq_pipeline.tasks.joining import read_outcomes
from ptq_pipeline.tasks.judging import (
    JudgedTable,
    judge_table,
    table_policy,
    what_can_be_shown,
)
from ptq_pipeline.tasks.lm_eval import SampleFields

EXITS = {"PASS": ExitCode.DONE, "FAIL": ExitCode.REFUSED, "INCONCLUSIVE": ExitCode.INCONCLUSIVE}
# Files beside the verdict; no release takes a decision of this environment.
REPORT, JUNIT, SUMMARY = "report.html", "junit.xml", "summary.md"
ENVIRONMENT = "table"
SIDE = click.Path(path_type=Path)


class PointsOf(click.ParamType):
    """``LEVEL=POINTS``."""

    name = "level=points"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, float]:
        """Take it apart."""
        level, _, points = str(value).partition("=")
        try:
            return level, float(points)
        except ValueError:
            self.fail(f"'{value}' is not like class=3", param, ctx)


def judging_options(function: Any) -> Any:
    """Options of whatever judges outcomes: limits, groups, and where the results go."""
    for option in (
        click.option("--language", default="en", help="Of the report: en or ja."),
        click.option(
            "--no-report", is_flag=True, help="Write no report.html, which takes a second."
        ),
        click.option(
            *("--out", "-o"),
            type=click.Path(file_okay=False, path_type=Path),
            default=Path("judged"),
            show_default=True,
            help="Folder for verdict.json, report.html, junit.xml and summary.md.",
        ),
        click.option("--no-cross", is_flag=True, help="Do not cross classes with group columns."),
        click.option("--ignore", multiple=True, help="A column that makes no groups."),
        click.option("--candidate", default=None, help="The draw that would ship."),
        click.option(
            "--float-floor",
            type=float,
            default=None,
            help="Accuracy in points that the float model must exceed in every group.",
        ),
        click.option(
            "--limit",
            "limits",
            multiple=True,
            type=PointsOf(),
            help="Largest acceptable drop, e.g. class=3; levels are average, class, segment and "
            "intersection.",
        ),
        click.option("--policy", type=FILE, help="YAML file with the keys of worst_case_check."),
    ):
        function = option(function)
    return function


@command(
    epilog="Exits with 0 for PASS, 3 for FAIL, 4 for INCONCLUSIVE. Example: kedro ptq judge "
    "answers.csv --limit class=3",
)
@click.argument("table", required=False, type=FILE)
@click.option("--float", "float_table", type=SIDE, help="Outcomes of the float model, by id.")
@click.option("--quantized", type=SIDE, help="Outcomes of the quantized model, by id.")
@click.option("--metric", default=None, help="Of lm-evaluation-harness, e.g. acc.")
@click.option("--group", "groups", multiple=True, help="Field of its documents that makes groups.")
@click.option("--cluster", default=None, help="Field of its documents that belong together.")
@judging_options
def judge(**options: Any) -> Answer:
    """Judge the outcomes in TABLE, whoever quantized the model and whatever it was run on.

    TABLE is CSV or parquet, with a row per unit: label, float_answer and quantized_answer, or
    float_ok and quantized_ok (0, 1, or scores between them). Optional are unit_id, cluster, shift,
    draw and split; every other column makes groups.
    """
    fields = SampleFields(options["metric"], options["groups"], options["cluster"])
    table, what, files = read_outcomes(
        options["table"], options["float_table"], options["quantized"], fields
    )
    return judged_answer(table, what, files, options)


def judged_answer(
    table: pd.DataFrame, what: str, files: Sequence[SourceFile], options: Mapping[str, Any]
) -> Answer:
    """Judge a table as the options say, write the results, and say what came of it."""
    if unknown := sorted(set(options["ignore"]) - set(table)):
        raise InputError(
            f"{what} has no column '{unknown[0]}' that --ignore could leave out; its columns are "
            f"{', '.join(map(repr, table))}"
        )
    crossing = Crossing(crossed=not options["no_cross"])
    given = given_outcomes(table.drop(columns=[*options["ignore"]]), what, files, crossing)
    policy = table_policy(_policy(options), dict(options["limits"]), len(given.draws))
    judged = judge_table(given, policy, options["candidate"])
    verdict, decision = judged.verdict, Decision.of(judged.verdict, {}, ENVIRONMENT)
    shown = _write(judged, decision, options)
    lines = three_lines(verdict, decision, shown, options["language"])
    undecided = verdict.result == "INCONCLUSIVE"
    notes = what_can_be_shown(given, policy, verdict) if undecided else []
    return Answer(verdict.to_json(), [*lines, *_changes(verdict)], notes, EXITS[verdict.result])


def _write(judged: JudgedTable, decision: Decision, options: Mapping[str, Any]) -> Path:
    """Write the results, all of them made before; return the one to look at."""
    verdict, language, out = judged.verdict, options["language"], options["out"]
    report = "" if options["no_report"] else _report(judged, decision, language)
    texts = {
        REPORT: report,
        JUNIT: junit_report(verdict, decision),
        SUMMARY: pull_request_summary(verdict, decision, judged.cells, language),
        VERDICT_FILE: file_bytes(verdict.to_json()).decode(),
    }
    # What an earlier table left here is no part of this verdict, which is written last.
    for name in texts:
        remove(out / name)
    for name, text in texts.items():
        if text:
            write_file(out / name, text.encode())
    return Path(out / (REPORT if report else VERDICT_FILE))


def _policy(options: Mapping[str, Any]) -> dict[str, Any]:
    """What the policy file says; it may be a whole file of parameters."""
    content: Any = {}
    if (path := options["policy"]) is not None:
        try:
            content = yaml.safe_load(read_regular(path))
        except FileNotFoundError:
            raise InputError(f"'{path}' does not exist; check the path") from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise InputError(f"'{path}' is no YAML: {' '.join(str(error).split())}") from error
        content = {} if content is None else content
        if isinstance(content, dict):
            content = content.get("worst_case_check", content)
        if not isinstance(content, dict):
            raise InputError(f"'{path}' holds no settings; write keys of worst_case_check")
    if (floor := options["float_floor"]) is not None:
        levels = ("average", "class", "segment", "intersection")
        content = {**content, "float_floor": dict.fromkeys(levels, floor)}
    return content


def _report(judged: JudgedTable, decision: Decision, language: str) -> str:
    # Figures take matplotlib, which a verdict does not need.
    from ptq_pipeline.reporting.of_tables import render_table_report

    return render_table_report(judged, decision, language)


def _changes(verdict: Verdict) -> list[str]:
    """How many answers changed for the worse, for the better, and from wrong to wrong."""
    average = next((cell for cell in verdict.candidate.cells if cell.level == "average"), None)
    if average is None or verdict.source is None:
        return []
    other = average.flips - average.lost - average.gained
    text = f"Of {average.n:,} units {average.lost:,} got worse and {average.gained:,} better"
    if verdict.source.kind == "answers":
        text += f"; {other:,} went from one wrong answer to another"
    return [f"{text} ({average.shift})."]
