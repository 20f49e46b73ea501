"""The audit as a JUnit file, so that a CI server lists every group and shift as a test."""

from xml.etree import ElementTree as Xml

from ptq_pipeline.judgement.decision import Decision, Outcome
from ptq_pipeline.judgement.verdict import Verdict
from ptq_pipeline.reporting.formatting import clean_text, points


def junit_report(verdict: Verdict, decision: Decision) -> str:
    """Write one test case per cell of the candidate, one for the recipe, one for the decision.

    A cell that is shown good passes; one that is shown bad fails; what could not be judged or is
    not shown either way is skipped, with the reason: a skipped test is no passed one, and the case
    ``decision`` fails unless the candidate may ship.

    Args:
        verdict: the verdict.
        decision: what was decided.

    Returns:
        An XML document in the form that Jenkins, GitLab and GitHub actions read.
    """
    root = Xml.Element("testsuites", name="ptq_pipeline")
    suites = {"recipe": [_recipe(verdict)], "candidate": _cells(verdict)}
    suites["decision"] = [_decision(decision)]
    for name, cases in suites.items():
        suite = Xml.SubElement(root, "testsuite", name=name, tests=str(len(cases)))
        for kind, attribute in (("failure", "failures"), ("skipped", "skipped")):
            suite.set(attribute, str(sum(case.find(kind) is not None for case in cases)))
        suite.set("errors", "0")
        suite.extend(cases)
    Xml.indent(root)
    return Xml.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _case(suite: str, name: str, kind: str | None = None, message: str = "") -> Xml.Element:
    case = Xml.Element("testcase", classname=f"ptq.{suite}", name=clean_text(name))
    if kind is not None:
        Xml.SubElement(case, kind, message=clean_text(message))
    return case


def _recipe(verdict: Verdict) -> Xml.Element:
    kind = {"PASS": None, "FAIL": "failure"}.get(verdict.recipe.result, "skipped")
    return _case("recipe", "calibration draws", kind, verdict.recipe.statement)


def _cells(verdict: Verdict) -> list[Xml.Element]:
    kinds = {"shown_good": None, "shown_bad": "failure"}
    cases = []
    for cell in verdict.candidate.cells:
        message = (
            f"{cell.status.replace('_', ' ')}: loses {points(cell.drop)} points, "
            f"limit {points(cell.limit)}, n = {cell.n}"
        )
        name = f"{cell.level} {cell.group} under {cell.shift}"
        cases.append(_case("candidate", name, kinds.get(cell.status, "skipped"), message))
    return cases


def _decision(decision: Decision) -> Xml.Element:
    if decision.outcome is Outcome.PROMOTE:
        return _case("decision", "may ship")
    message = f"{decision.outcome}: " + " ".join(each.text for each in decision.reasons[:3])
    return _case("decision", "may ship", "failure", message)
