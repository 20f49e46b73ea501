"""The lines that end a run: decision, worst group, the report, what is not judged."""

from ptq_pipeline.judgement.decision import Decision
from ptq_pipeline.judgement.verdict import Verdict
from ptq_pipeline.reporting.texts import load_texts
from ptq_pipeline.reporting.wording import cell_sentence, drop_words, not_judged


def three_lines(
    verdict: Verdict, decision: Decision, report_path: object, language: str = "en"
) -> list[str]:
    """Say the outcome of an audit in a few lines of plain text, without markup.

    Args:
        verdict: The verdict.
        decision: What was decided.
        report_path: Where the reader finds the report; shown as it is.
        language: Language of the texts.

    Returns:
        The decision, the worst group beside the average, and the report; last a line that names
        classes and segments that are not judged, where there are some.
    """
    texts = load_texts(language)
    lines = [texts(f"lines.decision.{decision.outcome}", result=verdict.result)]
    if verdict.worst is None:
        lines.append(texts("lines.no_worst"))
    else:
        average = verdict.average
        said = texts(
            "lines.worst",
            sentence=cell_sentence(texts, verdict.worst, verdict.draws_behind),
            average=drop_words(texts, average.drop_mean_over_draws if average else None),
        )
        lines.append(said)
    lines.append(texts("lines.report", path=str(report_path)))
    if unjudged := not_judged(texts, verdict):
        lines.append(unjudged)
    return lines
