"""What a sample is: its class by its label, and its split, so that nothing is torn apart."""

import hashlib
import math
import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from typing import NoReturn

import numpy as np
import pandas as pd

from ptq_pipeline.core.errors import InputError

REQUIRED_SPLITS = ("pool", "reference", "selection", "audit")
# What others call them; the images of `reference` stand for production.
USUAL_SPLITS = {
    **{"train": "pool", "training": "pool", "val": "selection", "valid": "selection"},
    **{"validation": "selection", "dev": "selection", "test": "audit", "testing": "audit"},
}
SEVERAL = re.compile(r"\s*[;,|]\s*")
_MISSING = {"none", "nan", "null", "na", "n/a", ""}
# In the place of the label of classes that are divided together.
FEW = -1


def assign_splits(
    table: pd.DataFrame, splits: Sequence[Mapping[str, float]], seed: int
) -> pd.Series:
    """Return a split for every row; rows that name one keep it.

    The rest of each part is divided by the part's weights, class by class, in an order that only
    depends on ``seed`` and the pixels; classes of so few images that a split would get none are
    divided as one. Rows of one cluster, and rows with equal pixels, stay together.

    Args:
        table: columns ``label``, ``content_hash``, ``part``, optional ``split`` and ``cluster``.
        splits: per part, a mapping from split to weight (counts or shares).
        seed: seed of the division.

    Raises:
        InputError: if a row or a weight names an unknown split, or rows are left without a split
            and their part has no weights.
    """
    check_split_names(table, splits)
    given = table.get("split", pd.Series(pd.NA, table.index, dtype="object"))
    result = given.where(given.notna(), None).astype("object")
    units = table["content_hash"]
    if "cluster" in table:
        units = _joined(table["cluster"].where(table["cluster"].notna(), units).astype(str), units)
    for part, rows in table[result.isna()].groupby("part", sort=True):
        weights = splits[int(part)]  # type: ignore[call-overload]
        if not weights or not all(map(_is_weight, weights.values())) or not any(weights.values()):
            raise InputError(
                f"part {part} of the image source has {len(rows)} rows without a split and no "
                "weights to divide them by; give 'splits' for it, like {pool: 0.5, reference: 0.2, "
                "selection: 0.1, audit: 0.2}, or a 'split' column"
            )
        first = pd.DataFrame({"unit": units[rows.index], "label": rows["label"]})
        first = first.drop_duplicates("unit")
        order = [hashlib.sha256(f"{seed}:{unit}".encode()).digest() for unit in first["unit"]]
        first = first.assign(order=order).sort_values("order")
        chosen: dict[str, str] = {}
        wanted = sum(map(bool, weights.values()))
        sizes = first.groupby("label").size()
        # One by one they would all leave the same split empty.
        few = [label for label, n in sizes.items() if len(set(_divide(n, weights))) < wanted]
        together = first["label"].where(~first["label"].isin(few), FEW)
        for _, members in first.groupby(together, sort=True):
            chosen.update(zip(members["unit"], _divide(len(members), weights), strict=True))
        result.loc[rows.index] = units[rows.index].map(chosen)
    return result.astype(str)


def _joined(units: pd.Series, hashes: pd.Series) -> pd.Series:
    """Give units that share an image one name, the smallest of theirs."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    names, codes = np.unique(units.to_numpy(str), return_inverse=True)
    _, images = np.unique(hashes.to_numpy(str), return_inverse=True)
    size = len(names) + images.max(initial=0) + 1
    links = coo_matrix((np.ones(len(codes)), (codes, len(names) + images)), shape=(size, size))
    piece = connected_components(links, directed=False)[1][: len(names)]
    first = np.full(piece.max(initial=0) + 1, len(names))
    np.minimum.at(first, piece, np.arange(len(names)))
    return pd.Series(names[first[piece[codes]]], units.index)


def check_split_names(table: pd.DataFrame, splits: Sequence[Mapping[str, float]]) -> None:
    """Refuse names of splits, given for parts or for rows, that nothing uses."""
    named = [(name, "'splits' of the image source") for part in splits for name in part]
    if "split" in table:
        named += [(name, "the 'split' column") for name in table["split"].dropna().unique()]
    for name, where in named:
        if name not in REQUIRED_SPLITS:
            near = str(name).strip().lower()
            near = USUAL_SPLITS.get(near, near)
            hint = f"write '{near}', or " if near in REQUIRED_SPLITS else ""
            raise InputError(
                f"{where} names '{name}', and an image of that split would be used for nothing; "
                f"{hint}choose among {', '.join(REQUIRED_SPLITS)}, or leave those images out"
            )


def _is_weight(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value) and value >= 0


def _divide(count: int, weights: Mapping[str, float]) -> list[str]:
    names = list(weights)
    edges = np.cumsum([weights[name] for name in names]) / sum(weights.values())
    bounds = np.rint(edges * count).astype(int)
    sizes = np.diff(bounds, prepend=0)
    return [name for name, size in zip(names, sizes, strict=True) for _ in range(size)]


def require_splits(named: Collection[str]) -> None:
    """Raise InputError if no image will be in one of the splits that an audit needs."""
    if missing := [split for split in REQUIRED_SPLITS if split not in named]:
        found = ", ".join(sorted(map(str, named))) or "none"
        raise InputError(
            f"no image is in split(s) {', '.join(missing)}, only in {found}; give them in the "
            "'split' column or in 'splits' of the image source"
        )


def check_splits(samples: pd.DataFrame, names: pd.Series) -> None:
    """Raise InputError if a split is missing or the same pixels or cluster are in two splits.

    ``names`` are what to call each row in the error.
    """
    require_splits(set(samples["split"]))
    for column, what in [("content_hash", "the same pixels"), ("cluster", "the same cluster")]:
        if column not in samples:
            continue
        known = samples[samples[column].notna()]
        torn = known.groupby(column)["split"].transform("nunique") > 1
        if torn.any():
            first = known.loc[torn, column].iloc[0]
            rows = known.index[known[column] == first][:2]
            where = " and ".join(f"'{names[row]}' ({samples['split'][row]})" for row in rows)
            raise InputError(
                f"{what} in two splits: {where}; {known.loc[torn, column].nunique()} such case(s). "
                "Put every copy into one split, or leave the split column empty for them"
            )


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
    places = {_composed(name): place for place, name in enumerate(classes)}
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
    return _composed(str(int(value)) if whole else str(value))  # type: ignore[call-overload]


def _composed(text: str) -> str:
    """The same letters in one way: an accent can be a part of its letter or stand behind it."""
    return unicodedata.normalize("NFC", text)


def _refuse(table: pd.DataFrame, value: object, classes: tuple[str, ...]) -> NoReturn:
    rows = table["label"] == value
    text = str(value).strip()
    parts = SEVERAL.split(text)
    if len(parts) > 1 and {_plain(part) for part in parts} <= {_plain(name) for name in classes}:
        raise InputError(
            f"label '{value}' of '{table['name'][rows.idxmax()]}' names {len(parts)} classes "
            f"({int(rows.sum())} such labels), and an audit is about one class per image: several "
            "labels per image (multi-label) are another task; audit each label as a model of two "
            "classes, or keep the label that counts"
        )
    near = next((name for name in classes if _plain(name) == _plain(text)), None)
    hint = "" if near is None else f" (it has '{near}')"
    if text.casefold() in _MISSING:
        hint = " (a label that is missing is an empty cell)"
    elif re.fullmatch(r"\d+\.0+", text):
        hint = f" (class numbers are whole numbers: write {text.partition('.')[0]})"
    raise InputError(
        f"label '{value}' of '{table['name'][rows.idxmax()]}' is outside the model's "
        f"{len(classes)} classes{hint} ({int(rows.sum())} such labels); correct the labels or "
        "'classes' of the model"
    )


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text).strip().casefold()
