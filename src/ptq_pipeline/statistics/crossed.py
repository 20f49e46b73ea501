"""Draws crossed with images: how much of a drop's spread is due to which, and intervals for means.

All draws are evaluated on the same images, so image error does not average out over draws, and the
two cannot be told apart by subtracting a binomial variance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special


@dataclass(frozen=True)
class Components:
    """Variance components of the loss of one answer (1 lost, 0 unchanged, -1 gained).

    Attributes:
        draw: Variance of the group's drop between calibration draws, on endlessly many images.
        image: Variance between images, the same in all draws: some answers are always lost.
        rest: What only this image in only this draw, or trial, does.
        draws: Number of draws K.
        images: Number of images n.
        seed: Variance of the drop between seeds of the method on one calibration set.
        draw_image: Where there are several seeds, what only this image on only this set does,
            whatever the seed.
        seeds: Seeds per set R.
    """

    draw: float
    image: float
    rest: float
    draws: int
    images: int
    seed: float = 0.0
    draw_image: float = 0.0
    seeds: int = 1

    @property
    def _between_image_sets(self) -> float:
        return (self.image + self.draw_image + self.rest) / self.images

    @property
    def drop_sd_between_draws(self) -> float:
        """Standard deviation of the drop between draws, as a share."""
        return float(np.sqrt(self.draw))

    @property
    def drop_sd_between_seeds(self) -> float:
        """Standard deviation of the drop between seeds on one set, as a share."""
        return float(np.sqrt(self.seed))

    @property
    def drop_sd_between_image_sets(self) -> float:
        """Standard deviation of one trial's drop between sets of n images, as a share."""
        return float(np.sqrt(self._between_image_sets))

    @property
    def draw_share(self) -> float:
        """Share of the variance of one observed drop that is due to the draw; 0 if all are 0."""
        total = self.draw + self.seed + self._between_image_sets
        return self.draw / total if total > 0 else 0.0


def components(losses: ArrayLike) -> Components:
    """Estimate the components by the two-way analysis of variance without replication.

    Searle, Casella and McCulloch, Variance Components, 1992, section 4.3; negative estimates are
    set to 0, as is usual.

    Args:
        losses: ``(K, n)``: float right minus quantized right, for every draw and image of a group.

    Raises:
        ValueError: There are fewer than two draws or two images.
    """
    table = np.asarray(losses)
    if table.ndim != 2 or min(table.shape) < 2:
        raise ValueError(f"losses must be (K, n) with K and n at least 2, got {table.shape}")
    squares = float((table.sum(0) ** 2).sum()), float((table**2).sum())
    return components_of_sums(table.sum(1), *squares, images=table.shape[1])


def components_of_sums(
    of_draws: ArrayLike, squares_of_images: float, squares: float, *, images: int
) -> Components:
    """Estimate the components as :func:`components`, from sums over the losses.

    Losses that are 0 add to none of them, so only the others need to be known. Sums of whole
    numbers are exact, and so are their differences.

    Args:
        of_draws: ``(K,)``: sum over the images of each draw.
        squares_of_images: Sum over images of the square of the sum over draws.
        squares: Sum of the squares of all losses.
        images: Number of images n.

    Examples:
        >>> losses = np.array([[1, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 1]])
        >>> found = components_of_sums([2, 1, 1], 1 + 3**2, 4, images=4)
        >>> found == components(losses)
        True
    """
    sums = [_exact(each) for each in np.asarray(of_draws).tolist()]
    of_images, every = _exact(squares_of_images), _exact(squares)
    draws, size, total = len(sums), len(sums) * images, sum(sums)
    square_of_draws = sum(each * each for each in sums)
    left = size * every - draws * square_of_draws - images * of_images + total * total
    between_draws = (draws * square_of_draws - total * total) / (size * (draws - 1))
    between_images = (images * of_images - total * total) / (size * (images - 1))
    rest = max(0, left) / (size * (draws - 1) * (images - 1))
    return Components(
        draw=max(0.0, (between_draws - rest) / images),
        image=max(0.0, (between_images - rest) / draws),
        rest=rest,
        draws=draws,
        images=images,
    )


def _exact(value: float) -> float:
    """A whole number as an integer, which loses no digit however large it becomes."""
    return int(value) if float(value).is_integer() else float(value)


def seeded_components(losses: ArrayLike) -> Components:
    """Estimate the components of seeds within draws, both crossed with images.

    The balanced analysis of variance of ``draw + seed(draw) + image + draw x image + rest`` with
    all effects random (Searle, Casella and McCulloch, Variance Components, 1992, chapter 4);
    negative estimates are set to 0.

    Args:
        losses: ``(K, R, n)``: float right minus quantized right, for every calibration set, seed
            of the method and image of a group.

    Raises:
        ValueError: There are fewer than two sets, seeds or images.
    """
    table = np.asarray(losses, np.float64)
    if table.ndim != 3 or min(table.shape) < 2:
        raise ValueError(f"losses must be (K, R, n), each at least 2, got {table.shape}")
    draws, seeds, images = table.shape
    of_draw, of_seed = table.mean((1, 2)), table.mean(2)
    of_image, of_both = table.mean((0, 1)), table.mean(1)
    mean = table.mean()
    left = table - of_seed[:, :, None] - of_both[:, None, :] + of_draw[:, None, None]
    mixed = of_both - of_draw[:, None] - of_image[None, :] + mean
    between_draws = seeds * images * float(((of_draw - mean) ** 2).sum()) / (draws - 1)
    between_seeds = images * float(((of_seed - of_draw[:, None]) ** 2).sum())
    between_seeds /= draws * (seeds - 1)
    between_images = draws * seeds * float(((of_image - mean) ** 2).sum()) / (images - 1)
    between_both = seeds * float((mixed**2).sum()) / ((draws - 1) * (images - 1))
    rest = float((left**2).sum()) / (draws * (seeds - 1) * (images - 1))
    draw = (between_draws - between_both - between_seeds + rest) / (seeds * images)
    return Components(
        draw=max(0.0, draw),
        seed=max(0.0, (between_seeds - rest) / images),
        image=max(0.0, (between_images - between_both) / (draws * seeds)),
        draw_image=max(0.0, (between_both - rest) / seeds),
        rest=rest,
        draws=draws,
        seeds=seeds,
        images=images,
    )


def group_drops(
    losses: np.ndarray, labels: np.ndarray, groups: int, replicates: int, seed: int
) -> np.ndarray:
    """Return every group's drop in every trial, observed and with resampled images.

    The bootstrap of Efron (1979), stratified by group; all trials see the same resampled images, so
    that differences between trials keep their pairing.

    Args:
        losses: ``(T, N)`` int8: float right minus quantized right.
        labels: ``(N,)`` group of each image, 0 to ``groups - 1``.
        groups: Number of groups.
        replicates: Number of resamplings B.
        seed: Of the resampling.

    Returns:
        ``(1 + B, groups, T)`` float32; the first is observed. A group without images is NaN.
    """
    generator = np.random.default_rng(seed)
    drops = np.full((1 + replicates, groups, len(losses)), np.nan, np.float32)
    for group in range(groups):
        members = np.flatnonzero(labels == group)
        count = len(members)
        if count:
            drawn = generator.multinomial(count, np.full(count, 1 / count), replicates)
            weights = np.concatenate([np.ones((1, count)), drawn]).astype(np.float32) / count
            drops[:, group] = weights @ losses[:, members].T.astype(np.float32)
    return drops


@dataclass(frozen=True)
class Estimate:
    """A mean over draws with its interval."""

    value: float
    low: float
    high: float
    draws: int


def mean_over_draws(values: np.ndarray, level: float = 0.95) -> Estimate:
    """Return the mean over draws, with an interval for other draws and other images.

    The squared error is that over draws (their observed variance over K, of which image noise that
    differs between draws is a part) plus that of resampled images; Student's quantile with K - 1
    degrees of freedom. Noise that is both draw's and image's is counted twice, so the interval is
    on the wide side (as the pigeonhole bootstrap of Owen, 2007, is).

    Args:
        values: ``(1 + B, K)``: a statistic of each draw; the first row observed, the others with
            resampled images.
        level: Confidence.
    """
    observed = np.asarray(values[0], np.float64)
    draws = len(observed)
    if draws < 2:
        return Estimate(float(observed.mean()), float("nan"), float("nan"), draws)
    over_images = float(np.var(np.asarray(values[1:], np.float64).mean(1)))
    error = np.sqrt(float(observed.var(ddof=1)) / draws + over_images)
    reach = float(special.stdtrit(draws - 1, 0.5 + level / 2)) * error
    mean = float(observed.mean())
    return Estimate(mean, mean - reach, mean + reach, draws)
