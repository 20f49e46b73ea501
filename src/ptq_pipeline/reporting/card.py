"""The model card of a promoted version: tells customers openly which groups lose how much."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ptq_pipeline.judgement.decision import TouchedObligation
from ptq_pipeline.judgement.judged_groups import UnjudgedGroup
from ptq_pipeline.judgement.verdict import Verdict
from ptq_pipeline.reporting.formats import count
from ptq_pipeline.reporting.results import worst_first
from ptq_pipeline.reporting.tables import cell_values, escaped, markdown_table, why_not_judged
from ptq_pipeline.reporting.texts import Texts, load_texts

MOST_GROUPS = 20
_COLUMNS = (
    "group", "shift", "n", "float_accuracy", "quantized_accuracy", "drop", "interval", "lost",
)  # fmt: skip


def model_card(record: Mapping[str, Any], verdict: Verdict, language: str = "en") -> str:
    """Write the card of one version.

    Args:
        record: The promotion's record, as in the version's ``record.json``.
        verdict: What it was promoted on.
        language: Of the texts.

    Returns:
        Markdown with a metadata header in YAML (JSON values, which YAML reads).
    """
    texts = load_texts(language)
    promotion = record["content"]
    cells = verdict.candidate.cells
    worst = [cell for cell in worst_first(cells) if cell.judged and cell.level != "average"]
    average = [cell for cell in cells if cell.level == "average"]
    obligations = [TouchedObligation.read(each) for each in promotion.get("obligations", ())]
    owed = [texts.said(each.text, each.sentence) for each in obligations]
    lines = [
        *_header(record, verdict, language),
        f"# {texts('model_card.title', version=promotion['version'])}",
        "",
        texts("model_card.intro"),
        "",
        f"## {texts('model_card.losses')}",
        "",
        texts("page.points_note"),
        "",
        *markdown_table(
            texts, _COLUMNS, (cell_values(texts, cell) for cell in (*worst[:MOST_GROUPS], *average))
        ),
        "",
        *_not_judged(texts, verdict.groups_not_judged),
        f"## {texts('sure.title')}",
        "",
        *(f"- {escaped(each)}" for each in texts.statements(verdict)),
        "",
        *_list(texts("model_card.obligations"), owed),
        *_list(
            texts("model_card.waivers"), [each["reason"] for each in promotion.get("waivers", ())]
        ),
        f"## {texts('reviewer.identity')}",
        "",
        *(f"- {name}: `{value}`" for name, value in sorted(promotion["hashes"].items())),
        f"- decision: `{promotion['decision_hash']}`",
        "",
    ]
    return "\n".join(lines)


def _header(record: Mapping[str, Any], verdict: Verdict, language: str) -> list[str]:
    promotion = record["content"]
    fields = {
        "version": promotion["version"],
        "promoted": record["time"],
        "language": language,
        "tags": ["post-training-quantization", "image-classification"],
        "verdict": verdict.result,
        "decision_hash": promotion["decision_hash"],
        "float_model": promotion["hashes"]["float_model"],
        "runtime": promotion["runtime"],
    }
    header = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in fields.items()]
    return ["---", *header, "---", ""]


def _not_judged(texts: Texts, groups: Sequence[UnjudgedGroup]) -> list[str]:
    if not groups:
        return [texts("not_judged.none"), ""]
    named = [
        f"{escaped(group.group, 60)} (n = {count(group.n)}; {why_not_judged(texts, group)})"
        for group in groups
    ]
    return [
        f"## {texts('not_judged.title')}",
        "",
        texts("model_card.not_judged"),
        "",
        *(f"- {name}" for name in named),
        "",
    ]


def _list(title: str, lines: Sequence[str]) -> list[str]:
    if not lines:
        return []
    return [f"## {title}", "", *(f"- {escaped(line)}" for line in lines), ""]
