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
from ptq_pipeline.tasks.rows import ROLES

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
    if not isinstance(limits, Mapping | Policy | None):
        raise InputError(f"{WHAT}: give limits by level, like limits={{'class': 3}}")
    known = {"label": labels, "cluster": clusters}
    given = given_outcomes(_table(known, groups, float_answers, quantized_answers), WHAT)
    if isinstance(limits, Policy):
        return judge_table(given, limits).verdict
    return judge_table(given, table_policy({}, limits or {}, len(given.draws))).verdict


def _table(
    known: Mapping[str, ArrayLike | None],
    groups: Mapping[str, ArrayLike] | pd.DataFrame | None,
    float_answers: ArrayLike,
    quantized_answers: ArrayLike,
) -> pd.DataFrame:
    """The table of some arrays; ``known`` is said of units beside their groups."""
    if not isinstance(groups, Mapping | pd.DataFrame | None):
        raise InputError(f"{WHAT}: give groups by name, like groups={{'tone': tones}}")
    try:
        named = {} if groups is None else dict(groups)
        return _rows(known, named, float_answers, quantized_answers)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{WHAT}: {error}") from None


def _rows(
    known: Mapping[str, ArrayLike | None],
    groups: Mapping[str, ArrayLike],
    float_answers: ArrayLike,
    quantized_answers: ArrayLike,
) -> pd.DataFrame:
    """Give a row for each unit in each draw."""
    before = _one(float_answers, "float_answers")
    if np.ndim(quantized_answers) not in (1, 2) or not np.size(quantized_answers):
        raise InputError(
            f"{WHAT}: 'quantized_answers' has the shape {np.shape(quantized_answers)}; give one "
            "value for every unit, or a row of them for each draw"
        )
    after = np.array(quantized_answers, dtype=object)
    if isinstance(quantized_answers, np.ma.MaskedArray):
        after[np.ma.getmaskarray(quantized_answers)] = None
    after = np.atleast_2d(after)
    first, second = (
        ("float_ok", "quantized_ok")
        if known["label"] is None
        else ("float_answer", "quantized_answer")
    )
    columns: dict[str, Any] = {"unit_id": np.arange(len(before)), first: before}
    columns |= {name: _one(each, f"{name}s") for name, each in known.items() if each is not None}
    for name, values in groups.items():
        if name == "id" or name in ROLES:
            way = "; give it as clusters" if name in ("cluster", "sample_id") else ""
            raise InputError(f"{WHAT}: a group column may not be called '{name}'{way}; rename it")
        columns[str(name)] = _one(values, f"groups['{name}']")
    for name, column in {**columns, second: after.T}.items():
        if len(column) != len(before):
            raise InputError(
                f"{WHAT}: '{name}' holds {len(column):,} units and float_answers {len(before):,}"
            )
    units = pd.DataFrame(
        {name: texts_of(pd.Series(column, name=name)) for name, column in columns.items()}
    )
    rows = (pd.Series(row, name=second).infer_objects() for row in after)
    draws = [units.assign(**{second: texts_of(row)}) for row in rows]
    if np.ndim(quantized_answers) == 2:
        draws = [each.assign(draw=str(number)) for number, each in enumerate(draws)]
    return pd.concat(draws, ignore_index=True)


def _one(values: ArrayLike, name: str) -> Any:
    if np.ndim(values) != 1 or not np.size(values):
        raise InputError(
            f"{WHAT}: '{name}' has the shape {np.shape(values)}; give one value for every unit"
        )
    # Of a masked array only pandas keeps the mask.
    known = isinstance(values, pd.Series | np.ma.MaskedArray)
    found = pd.Series(values if known else np.asarray(values))
    return found.reset_index(drop=True)
