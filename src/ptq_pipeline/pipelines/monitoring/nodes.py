"""Nodes of ``monitoring``."""

import json
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ptq_pipeline.errors import InputError
from ptq_pipeline.models import FloatModel
from ptq_pipeline.monitoring.windows import (
    Acceptance,
    Arrival,
    Status,
    Window,
    accept,
    as_audited,
    is_late,
)
from ptq_pipeline.pipelines.drift.parameters import DriftParameters
from ptq_pipeline.pipelines.monitoring.parameters import MonitoringParameters
from ptq_pipeline.registry import Registry

if TYPE_CHECKING:
    from ptq_pipeline.monitoring import DriftResult

log = logging.getLogger(__name__)

HISTORY_SCHEMA_VERSION = 1


def accept_arrivals(
    arrivals: list[Arrival],
    history: Mapping[str, Any],
    samples: pd.DataFrame,
    images: np.ndarray,
    model: FloatModel,
    definitions: Mapping[str, Any],
    parameters: MonitoringParameters,
) -> tuple[dict[str, Window], list[dict[str, Any]]]:
    """Decide which arrivals can be believed.

    Returns:
        The accepted windows by name, and one record per arrival.
    """
    records = history.get("windows", [])
    known = {(record["window"], record["digest"]) for record in records}
    accepted = {r["window"]: r for r in records if r["status"] == Status.ACCEPTED}
    contents = {record["content"]: name for name, record in accepted.items()}
    log_order = list(accepted)
    windows, decisions = {}, []
    for arrival in arrivals:
        # A run that was killed between writing a decision and confirming it.
        if (arrival.name, arrival.digest) in known:
            continue
        if arrival.name in accepted:
            decided = _changed(arrival, accepted[arrival.name])
        else:
            decided = accept(
                arrival,
                images.shape[1:],
                lambda table: as_audited(table, model.classes, definitions),
                set(samples["content_hash"]),
                contents,
                parameters.acceptance.rules,
            )
        if decided.window is not None:
            windows[arrival.name] = decided.window
            contents[decided.window.content] = arrival.name
        late = is_late(arrival.name, log_order)
        _report(arrival, decided, late)
        decisions.append(_record(arrival, decided, late))
    return windows, decisions


def _changed(arrival: Arrival, earlier: Mapping[str, Any]) -> Acceptance:
    return Acceptance(
        Status.REJECTED,
        f"window '{arrival.name}' was accepted earlier (arrival {earlier['sequence']}) and its "
        "files have changed since; the first decision stands: deliver other images under a new "
        "name",
    )


def _report(arrival: Arrival, decided: Acceptance, late: bool) -> None:
    behind = ", late: it sorts before most of the latest windows" if late else ""
    if decided.status is Status.ACCEPTED and not late:
        log.info("window '%s' accepted %s", arrival.name, decided.reason)
    else:
        log.warning("window '%s' %s%s. %s", arrival.name, decided.status, behind, decided.reason)


def _record(arrival: Arrival, decided: Acceptance, late: bool) -> dict[str, Any]:
    window = decided.window
    return {
        "window": arrival.name,
        "status": str(decided.status),
        "reason": decided.reason,
        "late": late,
        "digest": arrival.digest,
        "content": window.content if window else None,
        "n": len(window.table) if window else 0,
        "labelled": bool(window and window.labelled),
    }


def measure_windows(
    windows: Mapping[str, Window],
    samples: pd.DataFrame,
    images: np.ndarray,
    profiles: pd.DataFrame,
    model: FloatModel,
    projection: dict[str, Any],
    definitions: Mapping[str, Any],
    registry: Registry,
    drift: DriftParameters,
    parameters: MonitoringParameters,
) -> tuple[dict[str, dict[str, Any]], dict[str, bytes]]:
    """Compare every accepted window with the reference: profiles, answers and clip rates.

    Without a champion the profiles alone are compared. A window that cannot be compared is set
    aside, unless the reference cannot be compared either: then it is not the window's fault.

    Returns:
        What was found by window, and Evidently's pages by file name.
    """
    from ptq_pipeline.artifact import Artifact
    from ptq_pipeline.monitoring import drift_report
    from ptq_pipeline.monitoring.measuring import (
        ServedModel,
        WindowProfiler,
        with_served_columns,
    )

    if not windows:
        return {}, {}
    champion = registry.champion()
    served = None
    if champion is not None:
        # Before any window is profiled: a runtime may set torch's threads.
        artifact = Artifact.of_version(champion.version, champion.folder)
        served = ServedModel.load(artifact, model, images.shape[1:])
    profiler = WindowProfiler(model, projection, definitions, served)
    rows = profiles["split"] == "reference"
    ids = profiles.loc[rows, "sample_id"].to_numpy()
    reference = profiler.with_served(profiles[rows].reset_index(drop=True), images[ids])
    settings = with_served_columns(
        drift.settings(), reference, parameters.served_threshold, parameters.clip_threshold
    )
    version = champion.version if champion else None
    found, pages = {}, {}
    for name, window in windows.items():
        try:
            current = profiler.profile(window).dropna(axis="columns", how="all")
            result = drift_report(current, reference, settings, name)
            found[name] = {"champion": version, **_summarise(result, current)}
        except Exception as error:  # noqa: BLE001 - whatever it is, other windows must not wait
            drift_report(reference, reference, settings, name)
            found[name] = _not_compared(name, error)
            continue
        log.info(
            "window '%s': %d of %d columns drifted, clip rate %.4f %%",
            *(name, len(result.drifted_columns), len(result.table)),
            100 * current.get("clip_rate", pd.Series([0.0])).mean(),
        )
        pages[f"{name}.html"] = result.html.encode()
        pages[f"{name}.json"] = json.dumps(result.content, indent=2, sort_keys=True).encode()
    return found, pages


def _not_compared(name: str, error: Exception) -> dict[str, Any]:
    what = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
    reason = f"window '{name}': it cannot be compared with the reference ({what})"
    log.warning("window '%s' rejected. %s", name, reason)
    return {"drifted": False, "status": str(Status.REJECTED), "reason": reason}


def _summarise(result: "DriftResult", current: pd.DataFrame) -> dict[str, Any]:
    columns = result.table.set_index("column")
    clip = [name for name in current if str(name).startswith("clip")]
    return {
        "drifted": result.drifted,
        "drifted_columns": result.drifted_columns,
        "columns": {
            str(name): {"distance": float(row["value"]), "threshold": float(row["threshold"])}
            for name, row in columns.iterrows()
        },
        "clip_rates": {str(name): round(float(current[name].mean()), 8) for name in clip},
    }


def record_decisions(
    history: Mapping[str, Any],
    decided: list[dict[str, Any]],
    measured: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """Add the new decisions to the history, in the order of arrival."""
    windows = list(history.get("windows", []))
    for record in decided:
        found = dict(measured.get(record["window"], {"drifted": False}))
        windows.append({"sequence": len(windows) + 1, **record, **found})
    return {"schema_version": HISTORY_SCHEMA_VERSION, "windows": windows}
