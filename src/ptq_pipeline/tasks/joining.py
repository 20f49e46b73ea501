"""One table of outcomes, or two that are joined by the ids of their units."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.judgement.verdict import SourceFile
from ptq_pipeline.tasks.lm_eval import SUFFIX, SampleFields, read_samples
from ptq_pipeline.tasks.reading import read_outcome_file

# What two tables are joined by, and what an outcome may be called in a table of one model.
KEYS = ("unit_id", "shift")
ALL_FIELDS = SampleFields()
OUTCOMES = {"answer": "answer", "prediction": "answer", "ok": "ok", "score": "ok"}


def read_outcomes(
    table: Path | None,
    float_table: Path | None,
    quantized: Path | None,
    fields: SampleFields = ALL_FIELDS,
) -> tuple[pd.DataFrame, str, tuple[SourceFile, ...]]:
    """Read the outcomes of both models.

    Args:
        table: With outcomes of both.
        float_table: With those of the float model: ``id``, and ``answer`` or ``ok``; in the place
            of ``table``, beside ``quantized``.
        quantized: With those of the quantized model.
        fields: What of the samples of lm-evaluation-harness is used.

    Returns:
        The table, what to call it in errors, and the files that were read.

    Raises:
        InputError: Neither one table nor two are given, a file cannot be read, or ids do not match.
    """
    if table is not None and float_table is None and quantized is None:
        _require_no_fields(table, fields)
        found, file = read_outcome_file(table)
        return found, f"'{table}'", (file,)
    if table is not None or float_table is None or quantized is None:
        raise InputError("give one TABLE, or both --float and --quantized")
    first, first_files = _read(float_table, fields)
    second, second_files = _read(quantized, fields)
    names = f"'{float_table}'", f"'{quantized}'"
    joined = join_outcomes(
        _side(first, "float", names[0]), _side(second, "quantized", names[1]), names
    )
    return joined, f"{names[0]} and {names[1]}", (*first_files, *second_files)


def _read(path: Path, fields: SampleFields) -> tuple[pd.DataFrame, list[SourceFile]]:
    if path.is_dir() or path.suffix.lower() == SUFFIX:
        return read_samples(path, fields)
    _require_no_fields(path, fields)
    table, file = read_outcome_file(path)
    return table, [file]


def _require_no_fields(path: Path, fields: SampleFields) -> None:
    given = {"metric": fields.metric, "group": fields.groups, "cluster": fields.cluster}
    if odd := [name for name, value in given.items() if value]:
        raise InputError(
            f"--{odd[0]} is for samples of lm-evaluation-harness; in the table '{path}' outcomes "
            "are 'answer', 'ok' or 'score', what belongs together is the column 'cluster', and "
            "every other column makes groups"
        )


def _side(table: pd.DataFrame, model: str, what: str) -> pd.DataFrame:
    """Name the outcomes of one model as a table of both does."""
    named = {"id": "unit_id"} | {
        given: f"{model}_{kind}" for given, kind in OUTCOMES.items() if given in table
    }
    table = table.rename(columns=named)
    if "unit_id" not in table:
        raise InputError(f"{what} has no column 'id', by which the two tables are joined")
    outcomes = [f"{model}_{kind}" for kind in ("answer", "ok") if f"{model}_{kind}" in table]
    if len(outcomes) != 1 or not table.columns.is_unique:
        raise InputError(
            f"{what} must have one column with outcomes: 'answer', 'ok' or 'score'; its columns "
            f"are {', '.join(map(repr, table.columns))}"
        )
    if table["unit_id"].isna().any():
        raise InputError(f"{what}: a row has no 'id'; every unit needs one")
    return table


def join_outcomes(
    first: pd.DataFrame, second: pd.DataFrame, names: tuple[str, str]
) -> pd.DataFrame:
    """Join the float model's outcomes with the quantized model's.

    Raises:
        InputError: Ids do not match, a unit is answered twice, or both tables say different things
            of one unit.
    """
    keys = [key for key in KEYS if key in first and key in second]
    if "shift" in first and "shift" not in second:
        raise InputError(
            f"{names[0]} has a column 'shift' and {names[1]} has none; give it in both"
        )
    _check_once(first, keys, names[0])
    _check_once(second, [*keys, *({"draw", "shift"} & {*second} - {*keys})], names[1])
    _check_ids(first, second, names)
    _check_ids(second, first, names[::-1])
    both = sorted({*first} & {*second} - {*keys})
    joined = second.merge(
        first, on=keys, how="left", suffixes=("", " of the float model"), validate="m:1"
    )
    for column in both:
        other = f"{column} of the float model"
        differs = joined[column].fillna("") != joined[other].fillna("")
        if differs.any():
            row = joined[differs].iloc[0]
            raise InputError(
                f"unit '{row['unit_id']}' has {column} '{row[other]}' in {names[0]} and "
                f"'{row[column]}' in {names[1]}; {int(differs.sum()):,} rows differ"
            )
        joined = joined.drop(columns=other)
    return joined


def _check_once(table: pd.DataFrame, keys: list[str], what: str) -> None:
    twice = table.duplicated(keys)
    if twice.any():
        where = ", ".join(f"{key} '{table[key][twice].iloc[0]}'" for key in keys)
        raise InputError(
            f"{what} answers {int(twice.sum()):,} units twice; the first is {where}; keep one"
        )


def _check_ids(table: pd.DataFrame, other: pd.DataFrame, names: tuple[str, str]) -> None:
    ids = table["unit_id"].drop_duplicates()
    missing = ids[~ids.isin(other["unit_id"])]
    if len(missing):
        raise InputError(
            f"{len(missing):,} of the {len(ids):,} ids of {names[0]} are not in {names[1]}; the "
            f"first is '{missing.iloc[0]}'"
        )
