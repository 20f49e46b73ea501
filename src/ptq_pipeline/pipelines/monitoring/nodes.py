"""Nodes of ``monitoring``."""

import json
import logging
from collections.abc import Mapping
from typing import Any

import pandas as pd

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.grouping import SubgroupScoringParameters
from ptq_pipeline.images.audit_data import AuditData
from ptq_pipeline.models import FloatModel
from ptq_pipeline.monitoring.audited import Audited
from ptq_pipeline.monitoring.drift import DriftResult, drift_report
from ptq_pipeline.monitoring.history import Distance, Measured, WindowHistory, WindowRecord
from ptq_pipeline.monitoring.parameters import DriftParameters, MonitoringParameters
from ptq_pipeline.monitoring.windows import Acceptance, Arrival, Status, Window, is_late
from ptq_pipeline.profiling.features import Projection
from ptq_pipeline.registry.agreement import Registry

log = logging.getLogger(__name__)


def gather_audited(
    data: AuditData,
    model: FloatModel,
    projection: dict[str, Any],
    scoring: SubgroupScoringParameters,
) -> Audited:
    """Bring together what production is compared with.

    Raises:
        InputError: the model is a detector.
    """
    if model.task.finds_objects:
        raise InputError(
            "watching production (monitoring, reaudit, requantization) is for classifiers and not "
            "yet for detectors; audit a labelled window as a data set of its own"
        )
    return Audited(data, model, Projection.from_json(projection), scoring)


def accept_arrivals(
    arrivals: list[Arrival],
    history: WindowHistory | None,
    audited: Audited,
    parameters: MonitoringParameters,
) -> tuple[dict[str, Window], list[WindowRecord]]:
    """Decide which arrivals can be believed.

    Returns:
        The accepted windows by name, and one record per arrival.
    """
    earlier = history or WindowHistory()
    known = {(record.window, record.digest) for record in earlier.windows}
    accepted = earlier.accepted
    contents = {str(record.content): name for name, record in accepted.items()}
    windows, decisions = {}, []
    for arrival in arrivals:
        # A run that was killed between writing a decision and confirming it.
        if (arrival.name, arrival.digest) in known:
            continue
        if arrival.name in accepted:
            decided = _changed(arrival, accepted[arrival.name])
        else:
            decided = audited.accept(arrival, contents, parameters.acceptance)
        if decided.window is not None:
            windows[arrival.name] = decided.window
            contents[decided.window.content] = arrival.name
        late = is_late(arrival.name, list(accepted))
        _report(arrival, decided, late)
        decisions.append(_record(arrival, decided, late))
    return windows, decisions


def _changed(arrival: Arrival, earlier: WindowRecord) -> Acceptance:
    return Acceptance(
        Status.REJECTED,
        f"window '{arrival.name}' was accepted earlier (arrival {earlier.sequence}) and its "
        "files have changed since; the first decision is kept: deliver other images under a new "
        "name",
    )


def _report(arrival: Arrival, decided: Acceptance, late: bool) -> None:
    behind = ", late: it sorts before most of the latest windows" if late else ""
    if decided.status is Status.ACCEPTED and not late:
        log.info("window '%s' accepted %s", arrival.name, decided.reason)
    else:
        log.warning("window '%s' %s%s. %s", arrival.name, decided.status, behind, decided.reason)


def _record(arrival: Arrival, decided: Acceptance, late: bool) -> WindowRecord:
    window = decided.window
    return WindowRecord(
        window=arrival.name,
        status=decided.status,
        reason=decided.reason,
        late=late,
        digest=arrival.digest,
        content=window.content if window else None,
        n=len(window.table) if window else 0,
        labelled=bool(window and window.labelled),
    )


def _incomparable(name: str, error: Exception) -> str:
    what = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
    return f"window '{name}': it cannot be compared with the reference ({what})"


def measure_windows(
    windows: Mapping[str, Window],
    audited: Audited,
    registry: Registry,
    drift: DriftParameters,
    parameters: MonitoringParameters,
) -> tuple[dict[str, Measured | str], dict[str, bytes]]:
    """Compare every accepted window with the reference: profiles, answers and clip rates.

    Without a champion the profiles alone are compared. A window that cannot be compared is set
    aside, unless the reference cannot be compared either: then it is not the window's fault.

    Returns:
        What was found by window, or why it was set aside; and Evidently's pages by file name.
    """
    # Loading what serves takes torch.
    from ptq_pipeline.monitoring.measuring import ServedModel, with_served, with_served_columns

    if not windows:
        return {}, {}
    champion = registry.champion()
    # Before any window is profiled: a runtime may set torch's threads.
    served = ServedModel.of_champion(champion, audited) if champion else None
    reference = with_served(*audited.reference(), served)
    drift = drift.following(audited.data.definitions.segments)
    drift = with_served_columns(drift, reference, parameters)
    found: dict[str, Measured | str] = {}
    pages = {}
    for name, window in windows.items():
        try:
            current = with_served(audited.profile(window), window.images, served)
            current = current.dropna(axis="columns", how="all")
            result = drift_report(current, reference, drift, name)
        except Exception as error:  # noqa: BLE001 - whatever it is, other windows must not wait
            drift_report(reference, reference, drift, name)
            found[name] = _incomparable(name, error)
            log.warning("window '%s' rejected. %s", name, found[name])
            continue
        found[name] = _measured(result, current, champion.version if champion else None)
        log.info(
            "window '%s': %d of %d columns drifted, clip rate %.4f %%",
            name,
            len(result.drifted_columns),
            len(result.table),
            100 * current.get("clip_rate", pd.Series([0.0])).mean(),
        )
        pages[f"{name}.html"] = result.html.encode()
        pages[f"{name}.json"] = json.dumps(result.content, indent=2, sort_keys=True).encode()
    return found, pages


def _measured(result: DriftResult, current: pd.DataFrame, champion: str | None) -> Measured:
    clip = [name for name in current if str(name).startswith("clip")]
    return Measured(
        champion=champion,
        drifted=result.drifted,
        drifted_columns=tuple(result.drifted_columns),
        columns={
            str(name): Distance(distance=row["value"], threshold=row["threshold"])
            for name, row in result.table.set_index("column").iterrows()
        },
        clip_rates={str(name): round(float(current[name].mean()), 8) for name in clip},
    )


def record_decisions(
    history: WindowHistory | None,
    decided: list[WindowRecord],
    measured: Mapping[str, Measured | str],
) -> WindowHistory:
    """Add the new decisions to the history, in the order of arrival."""
    return (history or WindowHistory()).extended(decided, measured)
