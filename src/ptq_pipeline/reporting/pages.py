"""Pages beside the report: two audits side by side, and versions over time."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from ptq_pipeline.core.group_ids import CellDocument, CellKey
from ptq_pipeline.judgement.candidate import JudgedCell
from ptq_pipeline.judgement.verdict import Verdict
from ptq_pipeline.reporting.formats import points
from ptq_pipeline.reporting.page import EmbeddedFigure, rendered
from ptq_pipeline.reporting.results import ReportingParameters
from ptq_pipeline.reporting.states import STATES
from ptq_pipeline.reporting.tables import Row, Table, columns_of
from ptq_pipeline.reporting.texts import Texts, load_texts

TEMPLATE = "page.html.j2"
MOST_ROWS = 400
# How bad what is shown of a cell is.
_RANK = {"shown_bad": 3, "open": 2, "not_judged": 1, "shown_good": 0}


@dataclass(frozen=True)
class Section:
    """A part of a page: a heading, sentences, and perhaps a figure and a table."""

    title: str
    lines: Sequence[str] = ()
    table: Table | None = None
    figure: EmbeddedFigure | None = None


def render_page(
    title: str,
    facts: Iterable[tuple[str, str]],
    sections: Iterable[Section],
    language: str = "en",
) -> str:
    """Write a page that needs no other file and no network, with the look of the report."""
    return rendered(
        TEMPLATE,
        load_texts(language),
        ReportingParameters(language=language),
        page_title=title,
        page_facts=[(term, value) for term, value in facts if value],
        sections=list(sections),
    )


def table_of(
    texts: Texts, caption: str, rows: Sequence[Row], keys: Sequence[str], **kinds: str
) -> Table:
    """Build a table of these columns; ``kinds`` as for `columns_of`."""
    shown = rows[:MOST_ROWS]
    return Table(caption, columns_of(texts, keys, kinds), shown, len(rows) - len(shown))


@dataclass(frozen=True)
class NamedAudit:
    """One of two audits: what people call it, its verdict and its decision."""

    name: str
    verdict: Verdict
    decision: str


def side_by_side(
    before: NamedAudit,
    now: NamedAudit,
    settings: Sequence[tuple[str, Any, Any]],
    language: str = "en",
) -> str:
    """Write two audits side by side.

    Args:
        before: The one on the left.
        now: The one on the right.
        settings: What was set or found otherwise: where, on the left, on the right.
        language: Of the texts.
    """
    texts = load_texts(language)
    sections = [
        Section(
            texts("side_by_side.short"),
            table=table_of(
                texts,
                texts("side_by_side.caption_audits"),
                [_audit_row(texts, each) for each in (before, now)],
                ("audit", "result", "decision", "worst_group", "drop", "limit", "draws"),
                draws="text",
            ),
        ),
        Section(
            texts("section.worst"),
            [texts("side_by_side.groups_intro"), texts("page.points_note")],
            table_of(
                texts,
                texts("side_by_side.caption_groups"),
                _changes(texts, before.verdict, now.verdict),
                (
                    *("group", "shift", "limit", "drop_before", "drop_now", "change"),
                    *("status_before", "status_now"),
                ),
            ),
        ),
        _settings_section(texts, settings),
    ]
    facts = [(texts("column.before"), before.name), (texts("column.now"), now.name)]
    return render_page(texts("side_by_side.title"), facts, sections, language)


def _settings_section(texts: Texts, settings: Sequence[tuple[str, Any, Any]]) -> Section:
    title = texts("side_by_side.settings")
    if not settings:
        return Section(title, [texts("side_by_side.same_settings")])
    rows = [
        Row({"where": where, "before": _plain(texts, left), "now": _plain(texts, right)})
        for where, left, right in settings
    ]
    return Section(title, table=table_of(texts, title, rows, ("where", "before", "now")))


def _audit_row(texts: Texts, audit: NamedAudit) -> Row:
    verdict, worst = audit.verdict, audit.verdict.worst
    bad, drawn = verdict.recipe.shown_bad, verdict.recipe.distinct_draws
    values = {
        "audit": audit.name,
        "result": texts(f"badge.{verdict.result}"),
        "decision": texts(f"outcome.{audit.decision}"),
        "worst_group": _cell(texts, worst),
        "drop": worst.own_drop if worst else None,
        "limit": worst.limit if worst else None,
        "draws": texts("side_by_side.draws", bad=bad, n=drawn),
    }
    return Row(values)


def _cell(texts: Texts, cell: CellDocument | None) -> str | None:
    if cell is None:
        return None
    group, shift = texts.group(cell.level, cell.group), texts.shift_name(cell.shift)
    return texts("group.under", group=group, shift=shift)


def _changes(texts: Texts, before: Verdict, now: Verdict) -> list[Row]:
    """Rows of all groups: first those of which something else is shown, then by change."""
    left = {cell.key: cell for cell in before.candidate.cells}
    right = {cell.key: cell for cell in now.candidate.cells}
    keys = [*right, *(key for key in left if key not in right)]

    def order(key: CellKey) -> tuple[bool, float, float]:
        old, new = left.get(key), right.get(key)
        same = (old and old.status) == (new and new.status)
        worse = _RANK[new.status] if new else 0
        gap = abs(new.drop - old.drop) if old and new else 0.0
        return same, -worse, -gap

    return [_change(texts, key, left.get(key), right.get(key)) for key in sorted(keys, key=order)]


def _change(texts: Texts, key: CellKey, old: JudgedCell | None, new: JudgedCell | None) -> Row:
    one = new or old
    assert one is not None
    values = {
        "group": texts("group.all_images") if key.level == "average" else key.group,
        "shift": texts.shift_name(key.shift),
        "limit": one.limit,
        "drop_before": old.drop if old else None,
        "drop_now": new.drop if new else None,
        "change": new.drop - old.drop if old and new else None,
        "status_before": _state(texts, old),
        "status_now": _state(texts, new),
    }
    worse = old and new and _RANK[new.status] > _RANK[old.status]
    return Row(values, STATES[new.status].mark if new and worse else "plain")


def _state(texts: Texts, cell: JudgedCell | None) -> str:
    if cell is None:
        return texts("side_by_side.not_there")
    return f"{STATES[cell.status].glyph} {texts(f'status.{cell.status}')}"


def _plain(texts: Texts, value: Any) -> str:
    return texts("word.none") if value is None else str(value)


@dataclass(frozen=True)
class Version:
    """A version of the registry: the record of its promotion, what it is, and its verdict.

    ``verdict`` is None where its files are gone or of a schema that this release does not read.
    """

    record: Mapping[str, Any]
    about: str
    verdict: Verdict | None


def versions_page(
    versions: Sequence[Version], others: Sequence[Mapping[str, Any]], language: str = "en"
) -> str:
    """Write the registry's history: the worst drop of every version, and all other records."""
    texts = load_texts(language)
    sections = [
        Section(
            texts("versions.worst"),
            [texts("versions.intro")],
            table_of(
                texts,
                texts("versions.caption"),
                [_version_row(texts, each) for each in versions],
                ("version", "time", "by", "recipe", "worst_group", "drop", "limit"),
            ),
            _used_of_limit(texts, versions, language),
        )
        if versions
        else Section(texts("versions.worst"), [texts("log.none")])
    ]
    if others:
        rows = [_record_row(texts, each) for each in others]
        keys = ("sequence", "time", "kind", "what", "by", "why")
        table = table_of(texts, texts("versions.others"), rows, keys)
        sections.append(Section(texts("versions.others"), table=table))
    return render_page(texts("versions.title"), [], sections, language)


def _version_row(texts: Texts, version: Version) -> Row:
    content = version.record["content"]
    worst = version.verdict.worst if version.verdict else None
    values = {
        "version": content["version"],
        "time": texts.moment(version.record["time"]),
        "by": content.get("by") or None,
        "recipe": version.about.partition(";")[0] or None,
        "worst_group": _cell(texts, worst),
        "drop": worst.own_drop if worst else None,
        "limit": worst.limit if worst else None,
    }
    return Row(values)


def _record_row(texts: Texts, record: Mapping[str, Any]) -> Row:
    content = record["content"]
    values = {
        "sequence": record["sequence"],
        "time": texts.moment(record["time"]),
        "kind": texts(f"log.{record['kind']}"),
        "what": content.get("version") or content.get("rule") or content.get("outcome"),
        "by": content.get("by") or content.get("trigger"),
        "why": content.get("reason"),
    }
    return Row(values)


def _used_of_limit(
    texts: Texts, versions: Sequence[Version], language: str
) -> EmbeddedFigure | None:
    from ptq_pipeline.reporting.figures.rows import used_over_versions
    from ptq_pipeline.reporting.figures.style import inline_svg

    known = [
        (str(each.record["content"]["version"]), each.verdict.worst)
        for each in versions
        if each.verdict and each.verdict.worst and each.verdict.worst.limit
    ]
    if not known:
        return None
    shares = [(name, worst.own_drop / worst.limit) for name, worst in known]
    words = "; ".join(
        f"{name}: {points(worst.own_drop)} / {points(worst.limit)}" for name, worst in known
    )
    svg = Markup(inline_svg(used_over_versions(shares, language), "versions"))
    alt = texts("versions.alt", values=words)
    return EmbeddedFigure(svg, alt, texts("versions.figure"), wide=False)
