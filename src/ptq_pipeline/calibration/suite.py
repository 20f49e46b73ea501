"""What is expected of a calibration set, as data; the validator turns it into a GX suite."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

import pandas as pd

from ptq_pipeline.calibration.reference import batch_table
from ptq_pipeline.calibration.sets import CalibrationManifest
from ptq_pipeline.calibration.thresholds import (
    Thresholds,
    distance_expectation,
    shares_expectation,
)
from ptq_pipeline.core.canonical import canonical_hash, canonical_json

# Raise it when an expectation changes its meaning: cached results of earlier versions are not used.
SUITE_VERSION = 1
HASH_COLUMN = "content_hash"
FOUND_COLUMN = "also_in"
NOWHERE = "nowhere"
JUDGED_SPLITS = ("selection", "audit")


@dataclass(frozen=True)
class ExpectationSpec:
    """One expectation.

    Attributes:
        name: the name in all tables.
        kind: ``shares``, ``distance``, ``size``, ``unique`` or ``overlap``.
        column: the column it looks at, empty for the table.
        metric: what is observed.
        threshold: largest valid value (for ``size`` the only one).
        reference: JSON text of the reference, empty where there is none.
    """

    name: str
    kind: str
    column: str
    metric: str
    threshold: float
    reference: str = ""

    @property
    def description(self) -> str:
        """One line for people."""
        texts = {
            "shares": f"Shares of {self.column} must diverge from the reference by at most "
            f"{self.threshold:.4f} bits.",
            "distance": f"KS distance of {self.column} from the reference must be at most "
            f"{self.threshold:.4f}.",
            "size": f"The set must hold {self.threshold:.0f} images.",
            "unique": "No image may be in the set twice.",
            "overlap": "No image may also stand in selection or audit.",
        }
        return texts[self.kind]


def build_suite(thresholds: Thresholds, size: int) -> list[ExpectationSpec]:
    """Return all expectations on sets of ``size`` images.

    Raises:
        InputError: if that size was not simulated.
    """
    values = thresholds.of_size(size)
    reference = thresholds.reference
    suite = [
        ExpectationSpec("set_size", "size", "", "row_count", float(size)),
        ExpectationSpec("no_duplicates", "unique", HASH_COLUMN, "repeated_images", 0.0),
        ExpectationSpec("no_overlap", "overlap", FOUND_COLUMN, "images_also_judged", 0.0),
    ]
    for column, categories in reference.categories.items():
        name = shares_expectation(column)
        text = json.dumps({"categories": categories, "shares": reference.shares[column]})
        suite.append(ExpectationSpec(name, "shares", column, "js_divergence", values[name], text))
    for column, edges in reference.edges.items():
        name = distance_expectation(column)
        text = json.dumps({"edges": edges, "cdf": reference.cdf[column]})
        suite.append(ExpectationSpec(name, "distance", column, "ks_distance", values[name], text))
    return suite


def suite_fingerprint(suite: Sequence[ExpectationSpec]) -> str:
    """Return the SHA-256 (hex) of all that a result depends on beside the set itself."""
    content = {
        "suite_version": SUITE_VERSION,
        "great_expectations": version("great_expectations"),
        "expectations": [vars(spec) for spec in suite],
    }
    return canonical_hash(content)


def judged_hashes(samples: pd.DataFrame) -> dict[str, str]:
    """Return content hash to split for every image that candidates are chosen or judged on."""
    judged = samples[samples["split"].str.endswith(JUDGED_SPLITS)]
    return dict(zip(judged["content_hash"], judged["split"], strict=True))


def set_table(
    manifest: CalibrationManifest,
    profile: pd.DataFrame,
    definitions: Mapping,
    features: Sequence[str],
    judged: Mapping[str, str],
) -> pd.DataFrame:
    """Return the table that is validated: the set's profile and its manifest's content hashes.

    Args:
        manifest: the set's manifest.
        profile: one row per image of the set, in its order: ``label``, segments, features.
        definitions: ``{"classes": [...], "segments": {column: ...}}``.
        features: numeric columns to validate.
        judged: content hash to split, as ``judged_hashes`` returns it.

    Raises:
        InputError: if a feature is unknown or not finite.
    """
    hashes = manifest.content_hashes
    return batch_table(profile, definitions, features).assign(
        **{HASH_COLUMN: hashes, FOUND_COLUMN: [judged.get(value, NOWHERE) for value in hashes]}
    )


def table_fingerprint(table: pd.DataFrame) -> str:
    """Return the SHA-256 (hex) of a table's columns and values."""
    digest = hashlib.sha256(canonical_json(list(table.columns)))
    digest.update(pd.util.hash_pandas_object(table, index=False).to_numpy().tobytes())
    return digest.hexdigest()
