"""What is written beside the report: the lines that end a run, a pull request's comment, JUnit."""

from xml.etree import ElementTree as Xml

import pandas as pd

from ptq_pipeline.judgement.decision import Decision, Outcome
from ptq_pipeline.judgement.summary import SpreadCell
from ptq_pipeline.judgement.verdict import Verdict
from ptq_pipeline.reporting.formats import clean_text, count, points
from ptq_pipeline.reporting.results import worst_first
from ptq_pipeline.reporting.tables import cell_values, escaped, markdown_table
from ptq_pipeline.reporting.texts import Texts, texts_about

MOST_ROWS = 8
MOST_REASONS = 5
# What a result is in JUnit; all others are skipped.
_JUNIT = {
    **dict.fromkeys(("PASS", "shown_good", Outcome.PROMOTE), "passed"),
    **dict.fromkeys(("FAIL", "shown_bad", Outcome.REFUSE, Outcome.INCONCLUSIVE), "failure"),
}


def three_lines(
    verdict: Verdict, decision: Decision, report_path: object, language: str = "en"
) -> list[str]:
    """Say the outcome of an audit in a few lines of plain text, without markup.

    Returns:
        The decision, the worst group beside the average, and the report; last a line that names
        classes and segments that are not judged, where there are some.
    """
    texts = texts_about(verdict, language)
    lines = [
        texts(f"lines.decision.{decision.outcome}", result=verdict.result),
        _worst(texts, verdict),
        texts("lines.report", path=str(report_path)),
        texts.not_judged(verdict),
    ]
    return [line for line in lines if line]


def _worst(texts: Texts, verdict: Verdict) -> str:
    worst, average = verdict.worst, verdict.average_beside_worst or verdict.average
    if worst is None:
        return texts("lines.no_worst")
    subject = texts.group(worst.level, worst.group)
    sentence = texts(
        "cell.one_model" if verdict.recipe.result == "NONE" else "cell.over_draws",
        n=verdict.draws_behind,
        subject=subject[:1].upper() + subject[1:],
        shift=texts.shift(worst.shift),
        drop=texts.drop(worst.drop_mean_over_draws),
        worst=points(worst.drop_worst_draw),
        limit=points(worst.limit),
        count=count(worst.n),
    )
    said = texts.drop(average.drop_mean_over_draws if average else None)
    return texts("lines.worst", sentence=sentence, average=said)


def pull_request_summary(
    verdict: Verdict, decision: Decision, worst_case_table: pd.DataFrame, language: str = "en"
) -> str:
    """Write the audit as a comment on a pull request, with the answer first.

    Returns:
        Markdown for GitHub and GitLab; names of groups cannot mark anything up or call anybody.
    """
    texts = texts_about(verdict, language)
    lines = [
        f"## {texts('pull_request.title')}: {texts('badge.' + verdict.result)}",
        "",
        f"**{texts('answer.' + decision.outcome)}** " + escaped(texts.headline(verdict)),
        "",
        *_worst_rows(texts, SpreadCell.of_table(worst_case_table)),
        "",
    ]
    if unjudged := texts.not_judged(verdict):
        lines += [escaped(unjudged), ""]
    reasons = decision.distinct_reasons
    lines += [
        f"- {escaped(texts.said(reason.text, reason.sentence))}"
        for reason in reasons[:MOST_REASONS]
    ]
    if len(reasons) > MOST_REASONS:
        lines.append(f"- {texts('pull_request.more', n=len(reasons) - MOST_REASONS)}")
    hashes = {"verdict": decision.verdict_hash[:12], "decision": decision.hash[:12]}
    return "\n".join([*lines, "", f"<sub>{texts('pull_request.audit', **hashes)}</sub>", ""])


def _worst_rows(texts: Texts, cells: list[SpreadCell]) -> list[str]:
    """Give a Markdown table of the judged cells that lose most, and of the average."""
    worst = [cell for cell in worst_first(cells) if cell.judged and cell.level != "average"]
    average = [cell for cell in cells if cell.level == "average"]
    keys = ("group", "shift", "n", "drop_mean", "drop_worst", "drop", "interval", "limit", "status")
    rows = [
        {**cell_values(texts, cell), "drop_worst": cell.drop_max}
        for cell in (*worst[:MOST_ROWS], *average)
    ]
    return [f"{texts('pull_request.table')}:", "", *markdown_table(texts, keys, rows)]


def junit_report(verdict: Verdict, decision: Decision) -> str:
    """Write one test case per cell of the candidate, one for the recipe, one for the decision.

    A cell that is shown good passes; one that is shown bad fails; what could not be judged or is
    not shown either way is skipped, with the reason: a skipped test is no passed one, and the case
    ``decision`` fails unless the candidate may ship.

    Returns:
        An XML document in the form that Jenkins, GitLab and GitHub actions read.
    """
    recipe, reasons = verdict.recipe, " ".join(each.text for each in decision.reasons[:3])
    suites: dict[str, list[tuple[str, str, str]]] = {
        "recipe": [("calibration draws", recipe.result, recipe.statement)],
        "candidate": [
            (
                f"{cell.level} {cell.group} under {cell.shift}",
                cell.status,
                f"{cell.status.replace('_', ' ')}: loses {points(cell.drop)} points, "
                f"limit {points(cell.limit)}, n = {cell.n}",
            )
            for cell in verdict.candidate.cells
        ],
        "decision": [("may ship", decision.outcome, f"{decision.outcome}: {reasons}")],
    }
    root = Xml.Element("testsuites", name="ptq_pipeline")
    for name, cases in suites.items():
        suite = Xml.SubElement(root, "testsuite", name=name, tests=str(len(cases)))
        for title, found, message in cases:
            case = Xml.SubElement(
                suite, "testcase", classname=f"ptq.{name}", name=clean_text(title)
            )
            if (kind := _JUNIT.get(found, "skipped")) != "passed":
                Xml.SubElement(case, kind, message=clean_text(message))
        for kind, attribute in (("failure", "failures"), ("skipped", "skipped")):
            suite.set(attribute, str(len(suite.findall(f"testcase/{kind}"))))
        suite.set("errors", "0")
    Xml.indent(root)
    return Xml.tostring(root, encoding="unicode", xml_declaration=True) + "\n"
