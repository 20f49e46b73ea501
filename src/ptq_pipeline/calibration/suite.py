"""What is expected of a calibration set, as data."""

import json
from dataclasses import dataclass
from typing import Any

from ptq_pipeline.calibration.thresholds import (
    Thresholds,
    distance_expectation,
    shares_expectation,
)

# Raise it when an expectation changes its meaning: cached results of earlier versions are not used.
SUITE_VERSION = 1
HASH_COLUMN = "content_hash"
FOUND_COLUMN = "also_in"
NOWHERE = "nowhere"
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class ExpectationSpec:
    """One expectation, as data.

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
            "overlap": "No image may also be in selection or audit.",
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
