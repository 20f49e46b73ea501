"""Labels of a source as class indices."""

import unicodedata
from typing import NoReturn

import numpy as np
import pandas as pd

from ptq_pipeline.core.errors import InputError


def encode_labels(table: pd.DataFrame, classes: tuple[str, ...]) -> pd.Series:
    """Return labels as class indices.

    A text is the name of a class. A whole number is its index, or its name where all labels are
    names and not all can be indices.

    Raises:
        InputError: a label is missing, of no class, or could mean two of them.
    """
    labels = table["label"]
    if labels.isna().any():
        raise InputError(
            f"'{table['name'][labels.isna().idxmax()]}' has no label ({int(labels.isna().sum())} "
            "such image(s)); fill it, or leave the image out"
        )
    places = {name: place for place, name in enumerate(classes)}
    values = list(labels.unique())
    by_name = {value: places.get(_text(value)) for value in values}
    by_index = {value: _index(value, len(classes)) for value in values}
    named = None not in by_name.values()
    if not named and None in by_index.values():
        tried = by_index if all(place is None for place in by_name.values()) else by_name
        _refuse(table, next(value for value in values if tried[value] is None), classes)
    codes = by_name if named else by_index
    for value in values if named else ():
        index = by_index[value]
        if None not in by_index.values() and index != by_name[value]:
            raise InputError(
                f"label {value} can mean class number {value}, '{classes[index or 0]}', or the "
                f"class named '{value}'; name the classes by texts that are no numbers"
            )
        if classes.count(_text(value)) > 1:
            raise InputError(
                f"label '{value}' is the name of {classes.count(_text(value))} classes of the "
                "model; give every class a name of its own, or labels as class numbers"
            )
    return labels.map(codes).astype(np.int64)


def _index(value: object, count: int) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        return None
    return int(value) if 0 <= value < count and value == int(value) else None


def _text(value: object) -> str:
    whole = isinstance(value, float) and value.is_integer()
    return str(int(value)) if whole else str(value)  # type: ignore[call-overload]


def _refuse(table: pd.DataFrame, value: object, classes: tuple[str, ...]) -> NoReturn:
    near = next((name for name in classes if _plain(name) == _plain(str(value))), None)
    hint = "" if near is None else f" (it has '{near}')"
    rows = table["label"] == value
    raise InputError(
        f"label '{value}' of '{table['name'][rows.idxmax()]}' is outside the model's "
        f"{len(classes)} classes{hint} ({int(rows.sum())} such labels); correct the labels or "
        "'classes' of the model"
    )


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text).strip().casefold()
