"""Drawing calibration sets: one by its plan and number, and the evidence until enough are valid."""

import logging
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ptq_pipeline.calibration.parameters import CalibrationParameters, DrawPlan
from ptq_pipeline.calibration.sets import (
    CalibrationManifest,
    CalibrationSet,
    DeferredImages,
    array_sha256,
)
from ptq_pipeline.calibration.strategy import Pool, TooFewImages
from ptq_pipeline.calibration.suite import Rows
from ptq_pipeline.calibration.validation import SetValidator
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.images.source import content_keys
from ptq_pipeline.stress.perturbations import joined, perturb, seeded

log = logging.getLogger(__name__)

EVIDENCE = "evidence"
COMPARISON = "comparison"
# Above this share of the pool the spread over draws is understated.
LARGE_SHARE = 0.1
INDEX_COLUMNS = {
    "set_id": "str",
    "strategy": "str",
    "role": "str",
    "draw": "int64",
    "seed": "int64",
    "size": "int64",
    "pool_size": "int64",
    "array_sha256": "str",
    "valid": "bool",
    "failed_expectations": "str",
}
VALIDATION_COLUMNS = {
    "set_id": "str",
    "strategy": "str",
    "role": "str",
    "expectation": "str",
    "column": "str",
    "metric": "str",
    "observed": "float64",
    "threshold": "float64",
    "success": "bool",
    "error": "str",
}


def check_size(pool: Pool, size: int) -> None:
    """Raise InputError if sets of ``size`` different images cannot be drawn from the pool."""
    if not 0 < size <= len(pool):
        raise InputError(
            f"calibration sets of {size} images cannot be drawn from a pool of {len(pool)} "
            "different images; set 'calibration.set_size' between 1 and the size of the pool"
        )


def draw_set(pool: Pool, images: np.ndarray, plan: DrawPlan, draw: int) -> CalibrationSet:
    """Draw set number ``draw`` (from 0) of a plan.

    ``images`` are ``(N, C, H, W)`` uint8, row = sample id.

    Raises:
        InputError: if the augmentation is unknown or the pool cannot supply the set.
    """
    check_size(pool, plan.size)
    seed = plan.seed_of(draw)
    drawing = plan.strategy.draw(pool, plan.size, np.random.default_rng(seed))
    hashes = [str(value) for value in pool.content_hashes[drawing.rows]]
    ids = pool.sample_ids[drawing.rows]
    keys = content_keys(hashes)
    changes = joined(drawing.augmentation, seeded(plan.augmentation, seed))

    def make() -> np.ndarray:
        return perturb(np.asarray(images[ids]), keys, changes)

    pixels = make()
    manifest = CalibrationManifest(
        strategy=plan.strategy.name,
        options=plan.strategy.model_dump(),
        seed=seed,
        draw=draw,
        size=plan.size,
        pool_size=len(pool),
        augmentation=changes,
        sample_ids=tuple(ids.tolist()),
        content_hashes=tuple(hashes),
        array_sha256=array_sha256(pixels),
        shape=tuple(pixels.shape),
    )
    return CalibrationSet(manifest, DeferredImages(make, pixels.shape))


@dataclass(frozen=True)
class Drawn:
    """A set, whether it is evidence, and what the validation said: one row per expectation."""

    calibration_set: CalibrationSet
    role: str
    rows: Rows

    @property
    def failed(self) -> list[str]:
        """Names of the expectations that were not met, or raised."""
        return [row["expectation"] for row in self.rows if not row["success"]]


@dataclass(frozen=True)
class DrawnSets:
    """All sets that were drawn, valid or not: evidence first, in the order of drawing."""

    drawn: list[Drawn]

    @property
    def sets(self) -> dict[str, CalibrationSet]:
        """The sets by id."""
        return {each.calibration_set.set_id: each.calibration_set for each in self.drawn}

    def index(self) -> pd.DataFrame:
        """Return the ``calibration_set_index`` table."""
        taken = ("set_id", "strategy", "draw", "seed", "size", "pool_size", "array_sha256")
        rows = [
            {name: getattr(each.calibration_set.manifest, name) for name in taken}
            | {"role": each.role, "valid": not each.failed}
            | {"failed_expectations": ",".join(each.failed)}
            for each in self.drawn
        ]
        return pd.DataFrame(rows, columns=list(INDEX_COLUMNS)).astype(INDEX_COLUMNS)

    def validation(self) -> pd.DataFrame:
        """Return the ``calibration_validation`` table, one row per set and expectation."""
        rows = [
            {
                "set_id": each.calibration_set.set_id,
                "strategy": each.calibration_set.manifest.strategy,
                "role": each.role,
                **row,
            }
            for each in self.drawn
            for row in each.rows
        ]
        return pd.DataFrame(rows, columns=list(VALIDATION_COLUMNS)).astype(VALIDATION_COLUMNS)


def draw_valid_sets(
    pool: Pool, images: np.ndarray, parameters: CalibrationParameters, validator: SetValidator
) -> DrawnSets:
    """Draw and validate the sets of the recipe and of the comparison strategies.

    The recipe's sets are drawn in order until ``draws`` of them are valid or ``max_draws`` are
    drawn. Rejected sets are kept and marked. Comparison sets are never evidence.

    A comparison strategy that the pool cannot supply is left out with a warning.

    Raises:
        InputError: if the pool cannot supply a set of the recipe, or no evidence set is valid.
    """
    size = parameters.set_size
    check_size(pool, size)

    def draw(plan: DrawPlan, number: int, role: str) -> Drawn:
        calibration_set = draw_set(pool, images, plan, number)
        return Drawn(calibration_set, role, validator.validate(calibration_set))

    comparison: list[Drawn] = []
    for plan in parameters.comparisons:
        numbers = range(parameters.comparison_draws)
        try:
            comparison += [draw(plan, number, COMPARISON) for number in numbers]
        except TooFewImages as error:
            # No evidence rests on them.
            log.warning(
                "strategy '%s' of 'calibration.comparison_strategies' is left out: %s",
                plan.strategy.name,
                error,
            )
    if size > LARGE_SHARE * len(pool):
        log.warning(
            "a calibration set is %.0f %% of the pool (%d of %d images): draws overlap, and what "
            "they say of drawing from a larger pool is too good",
            100 * size / len(pool),
            size,
            len(pool),
        )
    evidence: list[Drawn] = []
    valid = 0
    while valid < parameters.draws and len(evidence) < parameters.most_draws:
        evidence.append(draw(parameters.recipe, len(evidence), EVIDENCE))
        valid += not evidence[-1].failed
    _report(evidence, parameters, valid)
    return DrawnSets([*evidence, *comparison])


def _report(evidence: list[Drawn], parameters: CalibrationParameters, valid: int) -> None:
    number = len(evidence)
    failures = Counter(name for each in evidence for name in each.failed)
    most = ", ".join(f"{name} ({count})" for name, count in failures.most_common(3))
    if not valid:
        (worst, count), *_ = failures.most_common(1)
        rows = [row for each in evidence for row in each.rows if row["expectation"] == worst]
        raised = next((f" (it raised: {row['error']})" for row in rows if row["error"]), "")
        raise InputError(
            f"all {number} calibration sets of strategy '{parameters.strategy}' are invalid: "
            f"expectation '{worst}' failed most, in {count} of them{raised}; draw from a pool that "
            "resembles the reference, or choose another 'calibration.strategy'"
        )
    if number > valid:
        log.info("rejected %d of %d calibration sets: %s", number - valid, number, most)
    if valid < parameters.draws:
        log.warning(
            "only %d of the %d wanted calibration sets are valid after %d draws ('max_draws'); "
            "expectations that failed most: %s",
            valid,
            parameters.draws,
            number,
            most,
        )
