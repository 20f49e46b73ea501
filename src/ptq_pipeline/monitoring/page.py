"""The page that the watch keeps: what serves, what it saw of production, and what it did."""

from collections.abc import Mapping, Sequence
from typing import Any

from ptq_pipeline.monitoring.history import WindowHistory, WindowRecord
from ptq_pipeline.monitoring.trigger import TriggerState
from ptq_pipeline.monitoring.windows import Status
from ptq_pipeline.reporting.pages import Section, render_page, table_of
from ptq_pipeline.reporting.tables import Row
from ptq_pipeline.reporting.texts import Texts, load_texts

MOST_WINDOWS = 100
MOST_COLUMNS = 3


def watch_page(
    history: WindowHistory,
    state: TriggerState,
    report: Mapping[str, Any],
    champion: str | None,
    language: str = "en",
) -> str:
    """Write the page.

    Args:
        history: Every window that arrived.
        state: What the watch remembers.
        report: What the last look found and did, with ``action`` and ``reason``.
        champion: What serves, in words; None for nothing.
        language: Of the texts.
    """
    texts = load_texts(language)
    facts = [
        (texts("watch.serves"), champion or texts("watch.nothing")),
        (texts("watch.looked"), texts.moment(state.latest) if state.latest else ""),
        (texts("watch.state"), _alarm(texts, state)),
    ]
    did = f"{report['action']}: {report['reason']}" if report["reason"] else report["action"]
    sections = [
        Section(texts("watch.last"), [did, *report.get("warnings", ())]),
        _windows(texts, history.windows[::-1][:MOST_WINDOWS]),
    ]
    if state.outcomes:
        rows = [
            Row({"event": event, "action": each.get("action"), "why": each.get("reason")})
            for event, each in reversed(state.outcomes.items())
        ]
        keys = ("event", "action", "why")
        table = table_of(texts, texts("watch.caption_events"), rows, keys)
        sections.append(Section(texts("watch.events"), table=table))
    return render_page(texts("watch.title"), facts, sections, language)


def _alarm(texts: Texts, state: TriggerState) -> str:
    if state.pending is not None:
        return texts("watch.waits", event=state.pending.event, why=state.waits_for or "–")
    return texts("watch.armed" if state.armed else "watch.not_armed")


def _windows(texts: Texts, windows: Sequence[WindowRecord]) -> Section:
    if not windows:
        return Section(texts("watch.windows"), [texts("watch.no_windows")])
    rows = [
        Row(
            {
                "window": each.window,
                "found": _found(texts, each),
                "n": each.n,
                "columns_off": ", ".join(each.drifted_columns[:MOST_COLUMNS]) or None,
                "why": each.reason or None,
            },
            "bad" if each.drifted else "open" if each.status is Status.REJECTED else "plain",
        )
        for each in windows
    ]
    keys = ("window", "found", "n", "columns_off", "why")
    return Section(
        texts("watch.windows"), table=table_of(texts, texts("watch.caption_windows"), rows, keys)
    )


def _found(texts: Texts, window: WindowRecord) -> str:
    if window.status is not Status.ACCEPTED:
        return texts(f"watch.status.{window.status}")
    return texts("watch.drifted" if window.drifted else "watch.calm")
