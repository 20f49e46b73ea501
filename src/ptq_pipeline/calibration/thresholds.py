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

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict

from ptq_pipeline.calibration.distances import js_divergence
from ptq_pipeline.calibration.parameters import CalibrationParameters
from ptq_pipeline.calibration.reference import (
    ReferenceSummary,
    batch_table,
    summarise_reference,
)
from ptq_pipeline.core.errors import InputError

SCHEMA_VERSION = 1
_CELLS_AT_A_TIME = 2_000_000


def shares_expectation(column: str) -> str:
    """Return the name of the expectation on a categorical column."""
    return f"{column}_shares"


def distance_expectation(feature: str) -> str:
    """Return the name of the expectation on a numeric column."""
    return f"{feature}_distance"


class SizeThresholds(BaseModel):
    """Thresholds for sets of one size.

    Attributes:
        expectation_level: the common level of every expectation.
        thresholds: expectation to the largest distance that a valid set may have.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    expectation_level: float
    thresholds: dict[str, float]


class Thresholds(BaseModel):
    """Frozen thresholds and the reference they were simulated from.

    Attributes:
        schema_version: version of this layout.
        sizes: by images per set.
        family_wise_level: share of random sets that may fail any expectation.
        simulated_draws: number of simulated sets.
        seed: seed of the simulation.
        reference: what the sets are compared with.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: int = SCHEMA_VERSION
    sizes: dict[int, SizeThresholds]
    family_wise_level: float
    simulated_draws: int
    seed: int
    reference: ReferenceSummary

    @property
    def features(self) -> tuple[str, ...]:
        """Numeric columns that are validated."""
        return tuple(self.reference.edges)

    def of_size(self, size: int) -> Mapping[str, float]:
        """Return the thresholds for sets of ``size`` images.

        Raises:
            InputError: if that size was not simulated.
        """
        if size not in self.sizes:
            raise InputError(
                f"calibration thresholds exist for set sizes {sorted(self.sizes)}, not for "
                f"{size}; run the pipeline 'calibration' with that 'set_size'"
            )
        return self.sizes[size].thresholds

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return self.model_dump(mode="json")

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
        return cls.model_validate(content)


def freeze_thresholds(
    reference: pd.DataFrame, definitions: Mapping[str, Any], parameters: CalibrationParameters
) -> Thresholds:
    """Simulate random sets of the size that is drawn and freeze the thresholds.

    Args:
        reference: profiles of the production reference, one row per image.
        definitions: ``{"classes": [...], "segments": {column: {"names": [...]}}}``.
        parameters: size of the sets, seed, and how they are validated.

    Raises:
        InputError: if the reference is empty or a feature is unknown or not finite.
    """
    validation, size, seed = parameters.validation, parameters.set_size, parameters.seed
    table = batch_table(reference, definitions, validation.features)
    summary = summarise_reference(table, definitions, validation.features)
    names, distances = simulate(table, summary, size, validation.simulated_draws, seed)
    values, level = joint_thresholds(distances, validation.family_wise_level)
    found = dict(zip(names, values.tolist(), strict=True))
    return Thresholds(
        sizes={size: SizeThresholds(expectation_level=level, thresholds=found)},
        family_wise_level=validation.family_wise_level,
        simulated_draws=validation.simulated_draws,
        seed=seed,
        reference=summary,
    )


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
