"""Nodes of ``drift``: gather what is compared, then let Evidently compare it."""

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from ptq_pipeline.calibration.sets import CalibrationSet
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.group_ids import GroupDefinitions
from ptq_pipeline.images.source import ImageSource, decode_source
from ptq_pipeline.judgement.verdict import Verdict
from ptq_pipeline.models import FloatModel
from ptq_pipeline.monitoring.audited import as_audited
from ptq_pipeline.monitoring.drift import DriftResult, drift_report, require_columns
from ptq_pipeline.monitoring.parameters import DriftParameters
from ptq_pipeline.pipelines.data_loading.parameters import DataLoadingParameters
from ptq_pipeline.profiling.features import Projection, profile
from ptq_pipeline.profiling.segments import profile_as_audited

log = logging.getLogger(__name__)

COMPARISON = "comparison"
RECIPE = "calibration_recipe"
CANDIDATE = "calibration_candidate"
WINDOW_PREFIX = "production_"
SUMMARY_SCHEMA_VERSION = 1


def gather_calibration_profiles(
    calibration_sets: Mapping[str, CalibrationSet],
    index: pd.DataFrame,
    verdict: Verdict,
    profiles: pd.DataFrame,
    model: FloatModel,
    projection: dict[str, Any],
) -> pd.DataFrame:
    """Return the profiles of the recipe's valid sets together, and of the candidate's set.

    Column ``comparison`` says which. An image in several sets is there as often, under the same
    ``sample_id``. A verdict without a candidate gives no rows for it.

    Raises:
        InputError: if no calibration set of the recipe is valid, or the candidate's set is unknown.
    """
    evidence = index[(index["role"] == "evidence") & index["valid"]]
    if evidence.empty:
        raise InputError(
            "drift: no calibration set of the recipe is valid; see calibration_validation for the "
            "expectations that failed"
        )
    compared = {RECIPE: list(evidence["set_id"])}
    candidate = verdict.candidate.set_id
    if candidate is not None:
        if candidate not in calibration_sets:
            raise InputError(
                f"drift: the verdict's candidate was calibrated on set '{candidate}', which is not "
                "among the calibration sets; run worst_case_check again"
            )
        compared[CANDIDATE] = [candidate]
    by_id = profiles.set_index("sample_id").drop(columns="split")
    tables = [
        _set_profiles(calibration_sets[set_id], by_id, model, projection).assign(comparison=name)
        for name, ids in compared.items()
        for set_id in ids
    ]
    return pd.concat(tables).rename_axis("sample_id").reset_index()


def _set_profiles(
    calibration_set: CalibrationSet,
    profiles: pd.DataFrame,
    model: FloatModel,
    projection: dict[str, Any],
) -> pd.DataFrame:
    manifest = calibration_set.manifest
    rows = profiles.loc[list(manifest.sample_ids)]
    if not manifest.augmentation:
        return rows
    # Perturbed pixels have profiles of their own; label and segments stay those of the image.
    perturbed = profile(calibration_set.images, model, Projection.from_json(projection))
    perturbed.index = rows.index
    return rows.assign(**{column: perturbed[column] for column in perturbed})


def gather_window_profiles(
    available: Mapping[str, Callable[[], ImageSource]],
    model: FloatModel,
    projection: dict[str, Any],
    definitions: GroupDefinitions,
    loading: DataLoadingParameters,
    parameters: DriftParameters,
) -> pd.DataFrame:
    """Profile every configured production window, named in ``comparison``; no other is opened.

    Raises:
        InputError: a window is missing, empty or broken.
    """
    tables = []
    for name in parameters.windows:
        try:
            source = _open_window(name, available, model)
            decoded = decode_source(source, loading.max_unreadable)
            table = profile_as_audited(
                decoded.images,
                as_audited(decoded.table, model.classes, definitions),
                model,
                Projection.from_json(projection),
                definitions,
            )
        except InputError as error:
            raise InputError(
                f"drift: production window '{name}' cannot be compared: {error}; correct its "
                "folder, or take it out of 'drift.windows'"
            ) from error
        tables.append(table.assign(comparison=f"{WINDOW_PREFIX}{name}"))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame({COMPARISON: []})


def _open_window(
    name: str, available: Mapping[str, Callable[[], ImageSource]], model: FloatModel
) -> ImageSource:
    if name not in available:
        raise InputError(f"it does not exist; there are {sorted(available) or 'none'}")
    source = available[name]()
    if not len(source.table):
        raise InputError("it holds no image")
    if source.shape[0] != model.preprocessing.channels:
        raise InputError(
            f"its images have {source.shape[0]} channel(s) and the model takes "
            f"{model.preprocessing.channels}"
        )
    return source


def check_columns(
    profiles: pd.DataFrame, definitions: GroupDefinitions, parameters: DriftParameters
) -> DriftParameters:
    """Return what is compared in this audit, which is known before any model is quantized.

    Raises:
        InputError: a column of ``drift.columns`` is none of the audit, or cannot be compared.
    """
    parameters = parameters.following(definitions.segments)
    require_columns(profiles[profiles["split"] == "reference"], parameters, "reference")
    return parameters


def compare_with_reference(
    calibration_profiles: pd.DataFrame,
    window_profiles: pd.DataFrame,
    profiles: pd.DataFrame,
    parameters: DriftParameters,
) -> tuple[pd.DataFrame, dict[str, Any], dict[str, bytes]]:
    """Compare calibration sets and windows with the reference.

    Returns:
        ``drift_table`` (one row per comparison and column), ``drift_summary``, and Evidently's
        HTML and JSON of every comparison by file name.
    """
    reference = profiles[profiles["split"] == "reference"]
    tables, summary, reports = [], {}, {}
    by_id = calibration_profiles.set_index("sample_id")
    groups = [
        *by_id.groupby(COMPARISON, sort=False),
        *window_profiles.groupby(COMPARISON, sort=False),
    ]
    for name, rows in groups:
        # Where some windows have labels and others have not, a column may be there but void.
        current = rows.dropna(axis="columns", how="all")
        result = drift_report(current, reference, parameters, name)
        log.info(
            "%s: %d of %d columns drifted", name, len(result.drifted_columns), len(result.table)
        )
        tables.append(result.table.assign(comparison=name))
        summary[name] = _summarise(result)
        reports[f"{name}.html"] = result.html.encode()
        reports[f"{name}.json"] = json.dumps(result.content, indent=2, sort_keys=True).encode()
    table = pd.concat(tables, ignore_index=True)
    table.insert(0, "comparison", table.pop("comparison"))
    content = {
        "schema_version": SUMMARY_SCHEMA_VERSION,
        "alpha": parameters.alpha,
        "comparisons": summary,
    }
    return table, content, reports


def _summarise(result: DriftResult) -> dict[str, Any]:
    table = result.table
    furthest = table.loc[(table["value"] / table["threshold"]).idxmax()]
    return {
        "drifted": result.drifted,
        "drifted_columns": result.drifted_columns,
        "columns": len(table),
        "skipped_columns": list(result.skipped),
        "n": int(furthest["n"]),
        "effective_n": float(furthest["effective_n"]),
        "n_reference": int(furthest["n_reference"]),
        "furthest": {
            key: str(furthest[key]) if key in ("column", "method") else float(furthest[key])
            for key in ("column", "method", "value", "threshold")
        },
    }
