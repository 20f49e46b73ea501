"""Drawing the evidence: sets in a fixed order until enough of them are valid."""

import logging
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from ptq_pipeline.calibration.parameters import CalibrationParameters
from ptq_pipeline.calibration.pool import Pool
from ptq_pipeline.calibration.sets import CalibrationSet
from ptq_pipeline.calibration.strategies import DrawPlan, check_size, draw_set
from ptq_pipeline.calibration.validation import Rows, SetValidator
from ptq_pipeline.core.errors import InputError

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


@dataclass
class DrawnSets:
    """All sets that were drawn, valid or not, and what the validation said of each."""

    sets: dict[str, CalibrationSet] = field(default_factory=dict)
    roles: dict[str, str] = field(default_factory=dict)
    results: dict[str, Rows] = field(default_factory=dict)

    def add(self, calibration_set: CalibrationSet, role: str, rows: Rows) -> bool:
        """Add a set; return whether it is valid."""
        set_id = calibration_set.set_id
        self.sets[set_id] = calibration_set
        self.roles[set_id] = role
        self.results[set_id] = rows
        return self.is_valid(set_id)

    def is_valid(self, set_id: str) -> bool:
        """Return whether every expectation was met."""
        return all(row["success"] for row in self.results[set_id])

    def failed(self, set_id: str) -> list[str]:
        """Return the names of the expectations that were not met, or raised."""
        return [row["expectation"] for row in self.results[set_id] if not row["success"]]

    def _ordered(self) -> list[str]:
        return sorted(self.sets, key=lambda set_id: self.roles[set_id] != EVIDENCE)

    def index(self) -> pd.DataFrame:
        """Return the ``calibration_set_index`` table: evidence first, in the order of drawing."""
        rows = []
        for set_id in self._ordered():
            manifest = self.sets[set_id].manifest
            rows.append(
                {
                    "set_id": set_id,
                    "strategy": manifest.strategy,
                    "role": self.roles[set_id],
                    "draw": manifest.draw,
                    "seed": manifest.seed,
                    "size": manifest.size,
                    "pool_size": manifest.pool_size,
                    "array_sha256": manifest.array_sha256,
                    "valid": self.is_valid(set_id),
                    "failed_expectations": ",".join(self.failed(set_id)),
                }
            )
        return pd.DataFrame(rows, columns=list(INDEX_COLUMNS)).astype(INDEX_COLUMNS)

    def validation(self) -> pd.DataFrame:
        """Return the ``calibration_validation`` table, one row per set and expectation.

        Sets stand in the order of :meth:`index`.
        """
        rows = [
            {
                "set_id": set_id,
                "strategy": self.sets[set_id].manifest.strategy,
                "role": self.roles[set_id],
                **row,
            }
            for set_id in self._ordered()
            for row in self.results[set_id]
        ]
        return pd.DataFrame(rows, columns=list(VALIDATION_COLUMNS)).astype(VALIDATION_COLUMNS)


def draw_valid_sets(
    pool: Pool, images: np.ndarray, parameters: CalibrationParameters, validator: SetValidator
) -> DrawnSets:
    """Draw and validate the sets of the recipe and of the comparison strategies.

    The recipe's sets are drawn in order until ``draws`` of them are valid or ``max_draws`` are
    drawn. Rejected sets are kept and marked. Comparison sets are never evidence.

    Args:
        pool: what may be drawn.
        images: ``(N, C, H, W)`` uint8, row = sample id.
        parameters: what to draw.
        validator: judges each set.

    Raises:
        InputError: if the pool cannot supply a set, or no evidence set is valid.
    """
    size = parameters.set_size
    check_size(pool, size)
    drawn = DrawnSets()

    def draw(plan: DrawPlan, number: int, role: str) -> bool:
        calibration_set = draw_set(pool, images, plan, number)
        return drawn.add(calibration_set, role, validator.validate(calibration_set))

    # Comparison strategies that the pool cannot supply are found before the long loop.
    for plan in parameters.comparisons:
        for number in range(parameters.comparison_draws):
            draw(plan, number, COMPARISON)
    if size > LARGE_SHARE * len(pool):
        log.warning(
            "a calibration set is %.0f %% of the pool (%d of %d images): draws overlap, and what "
            "they say of drawing from a larger pool is too good",
            *(100 * size / len(pool), size, len(pool)),
        )
    valid = number = 0
    while valid < parameters.draws and number < parameters.most_draws:
        valid += draw(parameters.recipe, number, EVIDENCE)
        number += 1
    _report(drawn, parameters, valid, number)
    return drawn


def _report(drawn: DrawnSets, parameters: CalibrationParameters, valid: int, number: int) -> None:
    evidence = [set_id for set_id, role in drawn.roles.items() if role == EVIDENCE]
    failures = Counter(name for set_id in evidence for name in drawn.failed(set_id))
    most = ", ".join(f"{name} ({count})" for name, count in failures.most_common(3))
    if not valid:
        worst = failures.most_common(1)[0][0]
        raise InputError(
            f"all {number} calibration sets of strategy '{parameters.strategy}' are invalid: "
            f"expectation '{worst}' failed most, in {failures[worst]} of them"
            f"{_first_error(drawn, worst)}; draw from a pool that resembles the reference, or "
            "choose another 'calibration.strategy'"
        )
    if number > valid:
        log.info("rejected %d of %d calibration sets: %s", number - valid, number, most)
    if valid < parameters.draws:
        log.warning(
            "only %d of the %d wanted calibration sets are valid after %d draws ('max_draws'); "
            "expectations that failed most: %s",
            *(valid, parameters.draws, number, most),
        )


def _first_error(drawn: DrawnSets, expectation: str) -> str:
    errors: list[Any] = [
        row["error"]
        for rows in drawn.results.values()
        for row in rows
        if row["expectation"] == expectation and row["error"]
    ]
    return f" (it raised: {errors[0]})" if errors else ""
