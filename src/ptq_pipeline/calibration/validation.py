"""Validation of calibration sets by Great Expectations, one result per set, remembered."""

import hashlib
import logging
from collections.abc import Callable, Mapping
from functools import cached_property
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ptq_pipeline.calibration.cache import ValidationCache
from ptq_pipeline.calibration.sets import CalibrationManifest, CalibrationSet
from ptq_pipeline.calibration.suite import (
    FOUND_COLUMN,
    HASH_COLUMN,
    NOWHERE,
    SUITE_VERSION,
    Rows,
    build_suite,
)
from ptq_pipeline.calibration.thresholds import (
    Thresholds,
    batch_table,
)
from ptq_pipeline.core.canonical import canonical_hash, canonical_json
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.group_ids import GroupDefinitions

if TYPE_CHECKING:
    from ptq_pipeline.calibration.gx import SetSuite

log = logging.getLogger(__name__)

DOCS_MARKER = "built_from.txt"
JUDGED_SPLITS = ("selection", "audit")
Profile = Callable[[CalibrationSet], pd.DataFrame]


def judged_hashes(samples: pd.DataFrame) -> dict[str, str]:
    """Return content hash to split for every image that candidates are chosen or judged on."""
    judged = samples[samples["split"].str.endswith(JUDGED_SPLITS)]
    return dict(zip(judged["content_hash"], judged["split"], strict=True))


class SetValidator:
    """Validates calibration sets against the reference and remembers the results.

    Great Expectations is imported only when a set is not yet known.

    Args:
        thresholds: frozen thresholds.
        size: size of the sets.
        definitions: classes and segments.
        judged: content hash to split of the images that candidates are chosen or judged on.
        profile: returns a set's profile, one row per image in its order.
        cache: earlier results; in memory when left out.
    """

    def __init__(
        self,
        thresholds: Thresholds,
        size: int,
        definitions: GroupDefinitions,
        judged: Mapping[str, str],
        profile: Profile,
        cache: ValidationCache | None = None,
    ) -> None:
        self.suite = build_suite(thresholds, size)
        self._features = thresholds.features
        self._definitions = definitions
        self._judged = judged
        self._profile = profile
        self._cache = cache if cache is not None else ValidationCache()
        self._tables: dict[str, pd.DataFrame] = {}
        self._keys: list[str] = []
        self._fresh: dict[str, Rows] = {}
        self._ran: set[str] = set()

    @property
    def runs(self) -> int:
        """Number of Great Expectations runs so far."""
        return len(self._ran)

    def table(self, calibration_set: CalibrationSet) -> pd.DataFrame:
        """Return the table that is validated: the set's profile and its manifest's content hashes.

        Raises:
            InputError: if a feature is unknown or not finite.
        """
        profile, hashes = self._profile(calibration_set), calibration_set.manifest.content_hashes
        found = [self._judged.get(value, NOWHERE) for value in hashes]
        return batch_table(profile, self._definitions, self._features).assign(
            **{HASH_COLUMN: hashes, FOUND_COLUMN: found}
        )

    def validate(self, calibration_set: CalibrationSet) -> Rows:
        """Return one row per expectation, from the cache where the same was asked before."""
        manifest, table = calibration_set.manifest, self.table(calibration_set)
        name = f"{manifest.strategy}-{manifest.draw:03d}-{manifest.set_id}"
        self._tables[name] = table
        key = self._key(manifest, table)
        self._keys.append(key)
        known = self._cache.get(key)
        if known is not None:
            return known
        rows = self._run(name)
        if not any(row["error"] for row in rows):
            self._fresh[key] = rows
        return rows

    def _key(self, manifest: CalibrationManifest, table: pd.DataFrame) -> str:
        """The key of one validation: the set, what was seen of it, and what was expected."""
        seen = hashlib.sha256(canonical_json(list(table.columns)))
        seen.update(pd.util.hash_pandas_object(table, index=False).to_numpy().tobytes())
        text = "\n".join([manifest.set_id, seen.hexdigest(), self._expected])
        return hashlib.sha256(text.encode()).hexdigest()

    @cached_property
    def _expected(self) -> str:
        content = {
            "suite_version": SUITE_VERSION,
            "great_expectations": version("great_expectations"),
            "expectations": [vars(spec) for spec in self.suite],
        }
        return canonical_hash(content)

    @cached_property
    def _gx(self) -> "SetSuite":
        from ptq_pipeline.calibration.gx import SetSuite

        return SetSuite(self.suite)

    def _run(self, name: str) -> Rows:
        self._ran.add(name)
        return self._gx.rows(self._tables[name], name)

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
        for name in [name for name in self._tables if name not in self._ran]:
            self._run(name)
        self._gx.build_docs(directory)
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
