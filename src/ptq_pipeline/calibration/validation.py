"""Validation of calibration sets by Great Expectations, one result per set, remembered."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ptq_pipeline.calibration.cache import ValidationCache, cache_key
from ptq_pipeline.calibration.sets import CalibrationSet
from ptq_pipeline.calibration.suite import (
    ExpectationSpec,
    build_suite,
    set_table,
    suite_fingerprint,
    table_fingerprint,
)
from ptq_pipeline.calibration.thresholds import Thresholds
from ptq_pipeline.core.canonical import canonical_hash
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.files import replacing_folder

log = logging.getLogger(__name__)

SUITE_NAME = "calibration_set"
DOCS_MARKER = "built_from.txt"
Rows = list[dict[str, Any]]


class GxSuite:
    """A Great Expectations suite in an in-memory context, to be run on one table after another.

    Args:
        suite: the expectations.
    """

    def __init__(self, suite: Sequence[ExpectationSpec]) -> None:
        # Read when the library is imported: nothing phones home, also outside Kedro.
        os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
        import great_expectations as gx
        from great_expectations.data_context.types.base import ProgressBarsConfig

        self._specs = {spec.name: spec for spec in suite}
        self._context = gx.get_context(mode="ephemeral")
        self._context.variables.progress_bars = ProgressBarsConfig(
            globally=False, metric_calculations=False
        )
        source = self._context.data_sources.add_pandas("calibration")
        asset = source.add_dataframe_asset("sets")
        expected = gx.ExpectationSuite(
            name=SUITE_NAME, expectations=[_to_gx(spec) for spec in suite]
        )
        self._definition = self._context.validation_definitions.add(
            gx.ValidationDefinition(
                name=SUITE_NAME,
                data=asset.add_batch_definition_whole_dataframe("set"),
                suite=self._context.suites.add(expected),
            )
        )

    def run(self, table: pd.DataFrame, name: str) -> Rows:
        """Validate one table.

        Args:
            table: as ``set_table`` returns it.
            name: name of the run in the Data Docs.

        Returns:
            One row per expectation: ``expectation``, ``column``, ``metric``, ``observed``,
            ``threshold``, ``success``, ``error``. An expectation that raised has its message in
            ``error``, no observed value, and no success.
        """
        from great_expectations.core.run_identifier import RunIdentifier

        result = self._definition.run(
            batch_parameters={"dataframe": table},
            result_format="BASIC",
            run_id=RunIdentifier(run_name=name),
        )
        return [self._row(outcome) for outcome in result.results]

    def _row(self, outcome: Any) -> dict[str, Any]:
        spec = self._specs[outcome.expectation_config.meta["name"]]
        error = _exception_message(outcome.exception_info)
        found = outcome.result or {}
        value = found.get("observed_value", found.get("unexpected_count"))
        if value is None and not error:
            error = "no value was observed"
        return {
            "expectation": spec.name,
            "column": spec.column,
            "metric": spec.metric,
            "observed": None if error or value is None else float(value),
            "threshold": spec.threshold,
            "success": bool(outcome.success) and not error,
            "error": error,
        }

    def build_docs(self, directory: Path) -> None:
        """Write the Data Docs of all runs so far; replaces ``directory``.

        The pages load styles from the network when opened: they are a convenience, the tables of
        this package are the record.
        """
        with replacing_folder(directory) as scratch:
            backend = {
                "class_name": "TupleFilesystemStoreBackend",
                "base_directory": str(scratch.absolute()),
            }
            self._context.add_data_docs_site(
                site_name="calibration",
                site_config={
                    "class_name": "SiteBuilder",
                    "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
                    "store_backend": backend,
                },
            )
            self._context.build_data_docs(site_names=["calibration"])


def _to_gx(spec: ExpectationSpec) -> Any:
    import great_expectations.expectations as core

    from ptq_pipeline.calibration import expectations as custom

    common = {"meta": {"name": spec.name}, "description": spec.description}
    if spec.kind == "size":
        return core.ExpectTableRowCountToEqual(value=int(spec.threshold), **common)
    if spec.kind == "unique":
        return core.ExpectColumnValuesToBeUnique(column=spec.column, **common)
    if spec.kind == "overlap":
        from ptq_pipeline.calibration.suite import NOWHERE

        return core.ExpectColumnValuesToBeInSet(column=spec.column, value_set=[NOWHERE], **common)
    kinds = {
        "shares": custom.ExpectColumnSharesDivergenceToBeAtMost,
        "distance": custom.ExpectColumnKsDistanceToBeAtMost,
    }
    return kinds[spec.kind](
        column=spec.column, reference=spec.reference, max_value=spec.threshold, **common
    )


def _exception_message(info: Mapping[str, Any] | None) -> str:
    """Return the first message of GX's exception info, which is flat or keyed by metric."""
    for entry in [info or {}, *(v for v in (info or {}).values() if isinstance(v, Mapping))]:
        if entry.get("raised_exception"):
            return str(entry.get("exception_message") or "unknown error")
    return ""


Profile = Callable[[CalibrationSet], pd.DataFrame]


class SetValidator:
    """Validates calibration sets against the reference and remembers the results.

    Great Expectations is imported only when a set is not yet known.

    Args:
        thresholds: frozen thresholds.
        size: size of the sets.
        definitions: ``{"classes": [...], "segments": {column: ...}}``.
        judged: content hash to split of the images that candidates are chosen or judged on.
        profile: returns a set's profile, one row per image in its order.
        cache: earlier results; in memory when left out.
    """

    def __init__(
        self,
        thresholds: Thresholds,
        size: int,
        definitions: Mapping[str, Any],
        judged: Mapping[str, str],
        profile: Profile,
        cache: ValidationCache | None = None,
    ) -> None:
        self._suite = build_suite(thresholds, size)
        self._suite_fingerprint = suite_fingerprint(self._suite)
        self._features = thresholds.features
        self._definitions = definitions
        self._judged = judged
        self._profile = profile
        self._cache = cache if cache is not None else ValidationCache()
        self._gx: GxSuite | None = None
        self._tables: dict[str, pd.DataFrame] = {}
        self._keys: list[str] = []
        self._fresh: dict[str, Rows] = {}
        self._ran: set[str] = set()

    @property
    def runs(self) -> int:
        """Number of Great Expectations runs so far."""
        return len(self._ran)

    def validate(self, calibration_set: CalibrationSet) -> Rows:
        """Return one row per expectation, from the cache where the same was asked before."""
        manifest = calibration_set.manifest
        table = set_table(
            manifest,
            self._profile(calibration_set),
            self._definitions,
            self._features,
            self._judged,
        )
        name = f"{manifest.strategy}-{manifest.draw:03d}-{manifest.set_id}"
        self._tables[name] = table
        key = cache_key(manifest.set_id, table_fingerprint(table), self._suite_fingerprint)
        self._keys.append(key)
        known = self._cache.get(key)
        if known is not None:
            return known
        rows = self._run(name, table)
        if not any(row["error"] for row in rows):
            self._fresh[key] = rows
        return rows

    def _gx_suite(self) -> GxSuite:
        if self._gx is None:
            self._gx = GxSuite(self._suite)
        return self._gx

    def _run(self, name: str, table: pd.DataFrame) -> Rows:
        self._ran.add(name)
        return self._gx_suite().run(table, name)

    def finish(self, data_docs: bool = False) -> None:
        """Remember the fresh results; make Data Docs show exactly the sets seen.

        Pages of sets that came from the cache need a run of their own, so nothing is built where
        the pages on disk already are of these validations.
        """
        self._cache.update(self._fresh)
        self._fresh = {}
        directory = self._cache.docs_directory
        if not data_docs or directory is None or not self._tables:
            return
        marker, content = directory / DOCS_MARKER, canonical_hash(sorted(self._keys))
        if marker.is_file() and marker.read_text(encoding="utf-8") == content:
            return
        for name, table in self._tables.items():
            if name not in self._ran:
                self._run(name, table)
        self._gx_suite().build_docs(directory)
        marker.write_text(content, encoding="utf-8")
        log.info("Data Docs of %d calibration sets: %s", len(self._tables), directory)


def stored_profile(
    profiles: pd.DataFrame, profile_pixels: Callable[[np.ndarray], pd.DataFrame] | None = None
) -> Profile:
    """Return a function from calibration set to profile that computes as little as possible.

    Images as they are in the samples have their profile already. Of changed ones (noise) the
    features are computed from the changed pixels; what pixels do not say (the label, segments that
    were given) comes from the samples.

    Args:
        profiles: the ``profiles`` table.
        profile_pixels: ``uint8 (n, C, H, W) -> DataFrame`` with the columns that pixels determine.
    """
    stored = profiles.set_index("sample_id", verify_integrity=True)

    def profile(calibration_set: CalibrationSet) -> pd.DataFrame:
        manifest = calibration_set.manifest
        rows = stored.loc[list(manifest.sample_ids)].reset_index(drop=True)
        if not manifest.augmentation:
            return rows
        if profile_pixels is None:
            raise InputError(
                f"calibration set {manifest.set_id} has changed pixels ({manifest.strategy}); "
                "profiling them needs 'profile_pixels'"
            )
        computed = profile_pixels(np.asarray(calibration_set.images)).reset_index(drop=True)
        return rows.assign(**{name: computed[name] for name in computed})

    return profile
