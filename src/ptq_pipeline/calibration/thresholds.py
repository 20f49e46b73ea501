"""Thresholds of the validation, found by simulating random calibration sets.

Question: how far may a *random* set of n images lie from the reference? Both are then samples of
the same population, so a simulated draw resamples both, with replacement, from the reference's
rows: n rows play the set and as many rows as the reference has play the reference (the two-sample
bootstrap). That carries the sampling error of the set and of the reference, keeps the dependence
between the columns, and never looks at the pool: a pool that does not resemble production is found,
not learned.

Where images come in clusters (of a user, a scene, a burst), those of one are alike, and pool and
reference are samples of clusters: whole clusters are resampled, as many as the pool has and as many
as the reference has (the cluster bootstrap; Davison and Hinkley, Bootstrap Methods, 1997, section
3.8), and the set is drawn from the images of the former.

One set faces many expectations. The common level of each expectation is the largest at which no
more than ``family_wise_level`` of the simulated sets fail any of them (min-p, Westfall and Young
1993).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import pandas as pd

from ptq_pipeline.calibration.parameters import CalibrationParameters
from ptq_pipeline.calibration.strategy import CLUSTER
from ptq_pipeline.core.documents import Document
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.group_ids import GroupDefinitions
from ptq_pipeline.statistics.distances import (
    category_shares,
    joint_thresholds,
    js_divergence,
    ks_distance,
)

CLASS_SHARES = "class"
NOTHING = "(nothing)"
# Every 2 % of the reference. A distance that shows at 256 images is several such steps wide.
QUANTILES = 50
_CELLS_AT_A_TIME = 2_000_000


def shares_expectation(column: str) -> str:
    """Return the name of the expectation on a categorical column."""
    return f"{column}_shares"


def distance_expectation(feature: str) -> str:
    """Return the name of the expectation on a numeric column."""
    return f"{feature}_distance"


class ReferenceSummary(Document):
    """What the reference's columns look like.

    Attributes:
        rows: number of rows of the reference.
        categories: categorical column to its categories.
        shares: categorical column to the share of each category and, last, of anything else.
        edges: numeric column to increasing quantile values of the reference.
        cdf: numeric column to the share of the reference at or below each edge.
    """

    rows: int
    categories: dict[str, tuple[str, ...]]
    shares: dict[str, tuple[float, ...]]
    edges: dict[str, tuple[float, ...]]
    cdf: dict[str, tuple[float, ...]]


class SizeThresholds(Document):
    """Thresholds for sets of one size.

    Attributes:
        expectation_level: the common level of every expectation.
        thresholds: expectation to the largest distance that a valid set may have.
    """

    expectation_level: float
    thresholds: dict[str, float]


class Thresholds(Document):
    """Frozen thresholds and the reference they were simulated from.

    Attributes:
        sizes: by images per set.
        family_wise_level: share of random sets that may fail any expectation.
        simulated_draws: number of simulated sets.
        seed: seed of the simulation.
        reference: what the sets are compared with.
    """

    called: ClassVar[str] = "calibration_thresholds"
    way_out: ClassVar[str] = "run the pipeline 'calibration' again"

    schema_version: Literal[1] = 1
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


@dataclass(frozen=True, eq=False)
class Clusters:
    """Which images of the reference belong together, and how many such clusters the pool has.

    Attributes:
        codes: ``(rows,)`` int64, the cluster of each row of the reference, counted from 0.
        of_pool: clusters of the pool.
    """

    codes: np.ndarray
    of_pool: int

    @classmethod
    def of(cls, samples: pd.DataFrame, reference: pd.DataFrame) -> "Clusters | None":
        """Return the clusters of an audit's samples; None without the column.

        A sample without a cluster is one of its own.

        Args:
            samples: ``sample_id``, ``split`` and optionally ``cluster``.
            reference: profiles of the reference, with ``sample_id``.
        """
        if CLUSTER not in samples:
            return None
        own = "image " + samples["sample_id"].astype(str)
        named = samples[CLUSTER].astype(object).where(samples[CLUSTER].notna(), own)
        named.index = samples["sample_id"]
        codes, _ = pd.factorize(named.loc[reference["sample_id"]])
        pool = (samples["split"] == "pool").to_numpy()
        return cls(codes.astype(np.int64), int(named[pool].nunique()))


def freeze_thresholds(
    reference: pd.DataFrame,
    definitions: GroupDefinitions,
    parameters: CalibrationParameters,
    clusters: Clusters | None = None,
) -> Thresholds:
    """Simulate random sets of the size that is drawn and freeze the thresholds.

    ``reference`` are profiles of the production reference, one row per image, in the order of
    ``clusters``; without these the images are independent.

    Raises:
        InputError: if the reference is empty or a feature is unknown or not finite.
    """
    validation, size, seed = parameters.validation, parameters.set_size, parameters.seed
    table = batch_table(reference, definitions, validation.features)
    summary = summarise_reference(table, definitions, validation.features)
    names, distances = simulate(table, summary, size, validation.simulated_draws, seed, clusters)
    values, level = joint_thresholds(distances, validation.family_wise_level)
    found = dict(zip(names, values.tolist(), strict=True))
    return Thresholds(
        sizes={size: SizeThresholds(expectation_level=level, thresholds=found)},
        family_wise_level=validation.family_wise_level,
        simulated_draws=validation.simulated_draws,
        seed=seed,
        reference=summary,
    )


def batch_table(
    profiles: pd.DataFrame, definitions: GroupDefinitions, features: Sequence[str]
) -> pd.DataFrame:
    """Return the columns that are validated: class name, segments, numeric features.

    ``profiles`` hold ``label``, segment columns and features, one row per image.

    Raises:
        InputError: if a feature is not in the profiles or has missing or infinite values.
    """
    unknown = [name for name in features if name not in profiles]
    if unknown:
        raise InputError(
            f"'calibration.validation.features' names {unknown}, which the profiles do not have; "
            f"they have {[name for name in profiles if profiles[name].dtype.kind in 'fi']}"
        )
    labels = profiles["label"].to_numpy()
    # An image without objects has no class, and counts with what is of no other.
    names = np.asarray([*definitions.classes, NOTHING], object)
    columns = {CLASS_SHARES: names[labels]}
    for segment in definitions.segments:
        columns[segment] = profiles[segment].astype(str).to_numpy(object)
    for name in features:
        columns[name] = profiles[name].to_numpy(np.float64)
        if not np.isfinite(columns[name]).all():
            raise InputError(
                f"profile feature '{name}' has missing or infinite values; repair the images or "
                "leave it out of 'calibration.validation.features'"
            )
    return pd.DataFrame(columns)


def summarise_reference(
    table: pd.DataFrame, definitions: GroupDefinitions, features: Sequence[str]
) -> ReferenceSummary:
    """Reduce the reference's rows, from :func:`batch_table`, to shares and quantiles.

    With fewer rows than classes the classes are left out, where there is something else to compare:
    most of a calibration set's classes are then in no row, whatever set is drawn.

    Raises:
        InputError: if the reference is empty.
    """
    if not len(table):
        raise InputError(
            "the split 'reference' is empty, so calibration sets cannot be validated; give it "
            "images in 'splits' of the image source"
        )
    categories: dict[str, tuple[str, ...]] = {}
    if len(table) >= len(definitions.classes) or not (features or definitions.segments):
        categories[CLASS_SHARES] = definitions.classes
    for segment, column in definitions.segments.items():
        extra = sorted(set(table[segment]) - set(column.names))
        categories[segment] = (*column.names, *extra)
    shares = {
        column: tuple(category_shares(table[column].to_numpy(), names).tolist())
        for column, names in categories.items()
    }
    edges, cdf = {}, {}
    levels = np.arange(1, QUANTILES) / QUANTILES
    for name in features:
        values = np.sort(table[name].to_numpy())
        points = np.unique(np.quantile(values, levels, method="inverted_cdf"))
        edges[name] = tuple(points.tolist())
        cdf[name] = tuple((np.searchsorted(values, points, side="right") / len(values)).tolist())
    return ReferenceSummary(
        rows=len(table), categories=categories, shares=shares, edges=edges, cdf=cdf
    )


def simulate(
    table: pd.DataFrame,
    summary: ReferenceSummary,
    size: int,
    draws: int,
    seed: int,
    clusters: Clusters | None = None,
) -> tuple[list[str], np.ndarray]:
    """Return the expectations' names and ``(draws, expectations)`` distances of random sets.

    ``table`` are the reference's rows, from :func:`batch_table`; ``summary`` the same, reduced.
    """
    indicators, starts = _indicators(table, summary)
    generator = np.random.default_rng([seed, size])
    rows = len(table)
    chunk = max(1, _CELLS_AT_A_TIME // rows)
    parts = []
    for start in range(0, draws, chunk):
        count = min(chunk, draws - start)
        if clusters is None:
            sets = _resample(generator, count, rows, size)
            others = _resample(generator, count, rows, rows)
        else:
            known = int(clusters.codes.max()) + 1
            pools = _resample(generator, count, known, clusters.of_pool)[:, clusters.codes]
            sets = _drawn_from(generator, pools, size)
            others = _resample(generator, count, known, known)[:, clusters.codes]
        shares = [each @ indicators / each.sum(1, keepdims=True) for each in (sets, others)]
        parts.append(_distances(*shares, starts, len(summary.categories)))
    names = [shares_expectation(column) for column in summary.categories]
    names += [distance_expectation(feature) for feature in summary.edges]
    return names, np.concatenate(parts)


def _drawn_from(generator: np.random.Generator, pools: np.ndarray, size: int) -> np.ndarray:
    """Return how often each row is among ``size`` images drawn from pools ``(count, rows)``."""
    found = np.empty_like(pools)
    for row, weights in enumerate(pools):
        found[row] = generator.multinomial(size, weights / weights.sum(dtype=np.float64))
    return found


def unlike_reference(
    table: pd.DataFrame, thresholds: Mapping[str, float], summary: ReferenceSummary
) -> dict[str, float]:
    """Return the expectations that a whole pool does not meet, and by what ratio, worst first.

    Nearly every set that is drawn from such a pool will fail them.

    Args:
        table: the pool's rows, from :func:`batch_table`.
        thresholds: of the sets that are drawn, see `Thresholds.of_size`.
        summary: the reference.
    """
    found = {
        shares_expectation(column): js_divergence(
            category_shares(table[column].to_numpy(), names), summary.shares[column]
        )
        for column, names in summary.categories.items()
    } | {
        distance_expectation(name): ks_distance(
            table[name].to_numpy(), summary.edges[name], summary.cdf[name]
        )
        for name in summary.edges
    }
    beyond = {
        name: float(value) / max(thresholds[name], np.finfo(float).tiny)
        for name, value in found.items()
        if value > thresholds[name]
    }
    return dict(sorted(beyond.items(), key=lambda each: -each[1]))


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
