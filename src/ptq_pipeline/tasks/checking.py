"""A verdict on arrays: what `kedro ptq judge` does, in Python."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.judgement.policy import Policy
from ptq_pipeline.judgement.verdict import Verdict
from ptq_pipeline.tasks.given import given_outcomes
from ptq_pipeline.tasks.judging import judge_table, table_policy
from ptq_pipeline.tasks.reading import texts_of

WHAT = "check"


def check(
    labels: ArrayLike | None,
    float_answers: ArrayLike,
    quantized_answers: ArrayLike,
    *,
    groups: Mapping[str, ArrayLike] | pd.DataFrame | None = None,
    limits: Mapping[str, float] | Policy | None = None,
    clusters: ArrayLike | None = None,
) -> Verdict:
    """Judge a quantized model against its float model on the same units.

    Args:
        labels: The right answers, names or numbers, shape (units,). None where answers are given as
            right and wrong, or as scores: numbers in [0, 1].
        float_answers: What the float model answers, shape (units,).
        quantized_answers: What the quantized model answers, shape (units,); or shape (draws,
            units), one row for the model of each calibration draw, and the recipe is judged too.
        groups: Group columns by name, each of shape (units,).
        limits: Largest acceptable drop in points by level (``average``, ``class``, ``segment``,
            ``intersection``), or a whole policy; as shipped when left out.
        clusters: What units belong together (a user, a scene, a document), shape (units,).

    Returns:
        The verdict; a notebook shows it as a table.

    Raises:
        InputError: The arrays do not fit together, or cannot be judged.

    Examples:
        >>> import numpy as np
        >>> labels = np.repeat(["cat", "dog"], 500)
        >>> answers = labels.copy()
        >>> answers[:30] = "dog"
        >>> quantized = answers.copy()
        >>> quantized[30:80] = "dog"
        >>> check(labels, answers, quantized, limits={"class": 3}).result
        'FAIL'
    """
    before = _one(float_answers, "float_answers")
    after = np.atleast_2d(np.asarray(quantized_answers, dtype=object))
    names = ("float_ok", "quantized_ok") if labels is None else ("float_answer", "quantized_answer")
    columns: dict[str, Any] = {"unit_id": np.arange(len(before)), names[0]: before}
    if labels is not None:
        columns["label"] = _one(labels, "labels")
    if clusters is not None:
        columns["cluster"] = _one(clusters, "clusters")
    for name, values in ({} if groups is None else dict(groups)).items():
        if name in columns or name in names:
            raise InputError(f"{WHAT}: a group column may not be called '{name}'; rename it")
        columns[str(name)] = _one(values, f"groups['{name}']")
    for name, column in {**columns, names[1]: after.T}.items():
        if len(column) != len(before):
            raise InputError(
                f"{WHAT}: '{name}' holds {len(column):,} units and float_answers {len(before):,}"
            )
    units = pd.DataFrame({name: texts_of(pd.Series(column)) for name, column in columns.items()})
    draws = [units.assign(**{names[1]: texts_of(pd.Series(row).infer_objects())}) for row in after]
    if np.ndim(quantized_answers) == 2:
        draws = [each.assign(draw=str(number)) for number, each in enumerate(draws)]
    given = given_outcomes(pd.concat(draws, ignore_index=True), WHAT)
    policy = limits
    if not isinstance(limits, Policy):
        policy = table_policy({}, limits or {}, len(given.draws))
    assert isinstance(policy, Policy)
    return judge_table(given, policy).verdict


def _one(values: ArrayLike, name: str) -> Any:
    if np.ndim(values) != 1 or not np.size(values):
        raise InputError(
            f"{WHAT}: '{name}' has the shape {np.shape(values)}; give one value for every unit"
        )
    found = values if isinstance(values, pd.Series) else pd.Series(np.asarray(values))
    return found.reset_index(drop=True)
