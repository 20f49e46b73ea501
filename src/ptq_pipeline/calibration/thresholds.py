"""Thresholds of the validation, found by simulating random calibration sets.

Question: how far may a *random* set of n images lie from the reference? Both are then samples of
the same population, so a simulated draw resamples both, with replacement, from the reference's
rows: n rows play the set and as many rows as the reference has play the reference (the two-sample
bootstrap). That carries the sampling error of the set and of the reference, keeps the dependence
between the columns, and never looks at the pool: a pool that does not resemble production is found,
not learned.

One set faces many expectations. The common level of each expectation is the largest at which no
more than ``family_wise_level`` of the simulated sets fail any of them (min-p, Westfall and Young
1993).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ptq_pipeline.calibration.distances import js_divergence
from ptq_pipeline.calibration.reference import (
    ReferenceSummary,
    batch_table,
    summarise_reference,
)
from ptq_pipeline.canonical import canonical_hash
from ptq_pipeline.errors import InputError

SCHEMA_VERSION = 1
_CELLS_AT_A_TIME = 2_000_000


def shares_expectation(column: str) -> str:
    """Return the name of the expectation on a categorical column."""
    return f"{column}_shares"


def distance_expectation(feature: str) -> str:
    """Return the name of the expectation on a numeric column."""
    return f"{feature}_distance"


@dataclass(frozen=True)
class Thresholds:
    """Frozen thresholds and the reference they were simulated from.

    Attributes:
        by_size: set size to expectation to the largest distance a valid set may have.
        expectation_level: set size to the common level of every expectation.
        family_wise_level: share of random sets that may fail any expectation.
        simulated_draws: number of simulated sets.
        seed: seed of the simulation.
        reference: what the sets are compared with.
    """

    by_size: Mapping[int, Mapping[str, float]]
    expectation_level: Mapping[int, float]
    family_wise_level: float
    simulated_draws: int
    seed: int
    reference: ReferenceSummary

    @property
    def features(self) -> tuple[str, ...]:
        """Numeric columns that are validated."""
        return tuple(self.reference.edges)

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the thresholds and the reference."""
        return canonical_hash(self.to_json())

    def of_size(self, size: int) -> Mapping[str, float]:
        """Return the thresholds for sets of ``size`` images.

        Raises:
            InputError: if that size was not simulated.
        """
        if size not in self.by_size:
            raise InputError(
                f"calibration thresholds exist for set sizes {sorted(self.by_size)}, not for "
                f"{size}; run the pipeline 'calibration' with that 'set_size'"
            )
        return self.by_size[size]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {
            "schema_version": SCHEMA_VERSION,
            "sizes": {
                str(size): {
                    "expectation_level": self.expectation_level[size],
                    "thresholds": dict(thresholds),
                }
                for size, thresholds in self.by_size.items()
            },
            "family_wise_level": self.family_wise_level,
            "simulated_draws": self.simulated_draws,
            "seed": self.seed,
            "reference": self.reference.to_json(),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Thresholds":
        """Rebuild thresholds from :meth:`to_json`.

        Raises:
            InputError: if the schema version is another one.
        """
        if content.get("schema_version") != SCHEMA_VERSION:
            raise InputError(
                f"calibration thresholds have schema version {content.get('schema_version')}, this "
                f"release reads {SCHEMA_VERSION}; run the pipeline 'calibration' again"
            )
        sizes = {int(size): entry for size, entry in content["sizes"].items()}
        return cls(
            {size: dict(entry["thresholds"]) for size, entry in sizes.items()},
            {size: float(entry["expectation_level"]) for size, entry in sizes.items()},
            float(content["family_wise_level"]),
            int(content["simulated_draws"]),
            int(content["seed"]),
            ReferenceSummary.from_json(content["reference"]),
        )


def freeze_thresholds(
    reference: pd.DataFrame,
    definitions: Mapping[str, Any],
    features: Sequence[str],
    sizes: Sequence[int],
    *,
    family_wise_level: float,
    simulated_draws: int,
    seed: int,
) -> Thresholds:
    """Simulate random sets of each size and freeze the thresholds.

    Args:
        reference: profiles of the production reference, one row per image.
        definitions: ``{"classes": [...], "segments": {column: {"names": [...]}}}``.
        features: numeric profile columns to validate.
        sizes: set sizes.
        family_wise_level: share of random sets that may fail any expectation, in (0, 1).
        simulated_draws: number of simulated sets per size.
        seed: seed of the simulation.

    Raises:
        InputError: if the reference is empty or a feature is unknown or not finite.
    """
    table = batch_table(reference, definitions, features)
    summary = summarise_reference(table, definitions, features)
    by_size, levels = {}, {}
    for size in sizes:
        names, distances = simulate(table, summary, size, simulated_draws, seed)
        values, levels[size] = joint_thresholds(distances, family_wise_level)
        by_size[size] = dict(zip(names, values.tolist(), strict=True))
    return Thresholds(by_size, levels, family_wise_level, simulated_draws, seed, summary)


def simulate(
    table: pd.DataFrame, summary: ReferenceSummary, size: int, draws: int, seed: int
) -> tuple[list[str], np.ndarray]:
    """Return the expectations' names and ``(draws, expectations)`` distances of random sets.

    Args:
        table: the reference's rows as ``batch_table`` returns them.
        summary: the same rows reduced by ``summarise_reference``; gives categories and edges.
        size: images per set.
        draws: number of simulated sets.
        seed: seed of the simulation.
    """
    indicators, starts = _indicators(table, summary)
    generator = np.random.default_rng([seed, size])
    chunk = max(1, _CELLS_AT_A_TIME // len(table))
    parts = []
    for start in range(0, draws, chunk):
        count = min(chunk, draws - start)
        sets = _resample(generator, count, len(table), size) @ indicators / size
        others = _resample(generator, count, len(table), len(table)) @ indicators / len(table)
        parts.append(_distances(sets, others, starts, len(summary.categories)))
    names = [shares_expectation(column) for column in summary.categories]
    names += [distance_expectation(feature) for feature in summary.edges]
    return names, np.concatenate(parts)


def _indicators(table: pd.DataFrame, summary: ReferenceSummary) -> tuple[np.ndarray, np.ndarray]:
    """Return ``(rows, cells)`` indicators of all columns and where each column's cells start.

    Cells of a categorical column are its categories; those of a numeric column say "at or below
    this edge", so that their mean is the distribution function.
    """
    blocks = []
    for column, names in summary.categories.items():
        blocks.append(table[column].to_numpy()[:, None] == np.asarray(names, object)[None, :])
    for feature, edges in summary.edges.items():
        blocks.append(table[feature].to_numpy()[:, None] <= np.asarray(edges)[None, :])
    starts = np.cumsum([0, *(block.shape[1] for block in blocks)])
    return np.concatenate(blocks, axis=1).astype(np.float32), starts


def _resample(generator: np.random.Generator, count: int, rows: int, size: int) -> np.ndarray:
    """Return ``(count, rows)`` float32: how often each row was drawn with replacement.

    Counts stay far below 2**24, so products with 0/1 indicators are exact in float32 and do not
    depend on how a BLAS library orders its sums.
    """
    drawn = generator.integers(rows, size=(count, size)) + rows * np.arange(count)[:, None]
    counts = np.bincount(drawn.ravel(), minlength=count * rows)
    return counts.reshape(count, rows).astype(np.float32)


def _distances(
    sets: np.ndarray, others: np.ndarray, starts: np.ndarray, categorical: int
) -> np.ndarray:
    columns = []
    for number, (start, stop) in enumerate(zip(starts[:-1], starts[1:], strict=True)):
        ours, theirs = sets[:, start:stop], others[:, start:stop]
        if number < categorical:
            columns.append(js_divergence(ours, theirs))
        else:
            columns.append(np.abs(ours - theirs).max(1).astype(np.float64))
    return np.stack(columns, axis=1)


def joint_thresholds(distances: np.ndarray, level: float) -> tuple[np.ndarray, float]:
    """Choose one threshold per expectation so that few random sets exceed any of them.

    Args:
        distances: ``(draws, expectations)`` distances of random sets.
        level: largest share of draws that may exceed at least one threshold, in (0, 1).

    Returns:
        ``(expectations,)`` thresholds (exceeding means strictly above), and their common level: the
        share of draws at which each expectation alone would be exceeded, 0 if none may be.
    """
    draws = len(distances)
    ordered = np.sort(distances, axis=0)
    at_least = np.stack(
        [
            draws - np.searchsorted(ordered[:, column], distances[:, column], side="left")
            for column in range(distances.shape[1])
        ],
        axis=1,
    )
    rarest = np.sort(at_least.min(1))
    allowed = int(np.floor(level * draws))
    # A draw fails if one of its distances is reached by `tail` draws or fewer; ties stay together.
    tail = int(rarest[allowed]) - 1
    kept = np.where(at_least > tail, distances, -np.inf)
    return kept.max(0), tail / draws
