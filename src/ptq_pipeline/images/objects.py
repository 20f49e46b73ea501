"""From the annotated objects of a source to the column ``objects`` of the samples table."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.names import ALARMS
from ptq_pipeline.core.units import IMAGE, NO_CLASS, OBJECTS, counted

# Columns of units that an object's own columns may not be called.
TAKEN = {OBJECTS, ALARMS, IMAGE, "sample_id", "split", "label", "content_hash", "cluster"}


def objects_table(table: pd.DataFrame) -> pd.DataFrame:
    """Return the own columns of all objects of a source, one row an object.

    ``image`` is the position of its image among the rows of ``table``.
    """
    rows = [
        {IMAGE: place, **each.get("columns", {})}
        for place, objects in enumerate(table[OBJECTS])
        for each in objects
    ]
    found = pd.DataFrame(rows) if rows else pd.DataFrame({IMAGE: pd.Series(dtype=np.int64)})
    if taken := sorted(TAKEN & set(found) - {IMAGE}):
        raise InputError(
            f"the annotated objects have a column '{taken[0]}' for groups, and this package writes "
            "a column of that name itself; rename it"
        )
    return found


def encode_objects(
    table: pd.DataFrame, classes: Sequence[str], columns: Mapping[str, pd.Series]
) -> pd.Series:
    """Return what is on each image as JSON text, see :mod:`ptq_pipeline.core.units`.

    Args:
        table: Rows of a source, with the objects of each image; ``label`` of an object is the name
            of its class.
        classes: The model's classes, in the order of its outputs.
        columns: Groups of all objects by column, in the order of `objects_table`.
    """
    places = {name: place for place, name in enumerate(classes)}
    own = pd.DataFrame(dict(columns))
    texts, number = [], 0
    for objects in table[OBJECTS]:
        found = []
        for each in objects:
            plain = {key: value for key, value in each.items() if key != "columns"}
            groups = own.iloc[number].to_dict() if len(own.columns) else {}
            found.append({**plain, "label": places[each["label"]], "columns": groups})
            number += 1
        texts.append(json.dumps(found, sort_keys=True, ensure_ascii=False))
    return pd.Series(texts, table.index, dtype=object)


def check_classes(table: pd.DataFrame, classes: Sequence[str]) -> None:
    """Check that the model knows the class of every object; the order of classes is the model's.

    Raises:
        InputError: It does not, or nothing is annotated.
    """
    names = Counter(each["label"] for objects in table[OBJECTS] for each in objects)
    if not names:
        raise InputError("no image has an annotated object, so nothing can be found or lost")
    for name, count in names.items():
        if name not in classes:
            near = next((each for each in classes if each.casefold() == name.casefold()), None)
            hint = f" (it has '{near}')" if near else ""
            raise InputError(
                f"category '{name}' of {count} annotated objects is none of the model's "
                f"{len(classes)} classes{hint}; correct the annotations or 'classes' of the model"
            )


def image_labels(table: pd.DataFrame, classes: Sequence[str]) -> pd.Series:
    """Return a class for each image by which splits are divided and calibration sets drawn.

    It is that of its rarest object, so that rare classes are in every split; -1 without objects.
    """
    counts = Counter(
        each["label"] for objects in table[OBJECTS] for each in objects if counted(each)
    )
    order = sorted(classes, key=lambda name: (counts[name], classes.index(name)))
    rank = {name: place for place, name in enumerate(order)}
    labels = []
    for objects in table[OBJECTS]:
        names = [each["label"] for each in objects if counted(each)]
        labels.append(classes.index(min(names, key=rank.__getitem__)) if names else NO_CLASS)
    return pd.Series(labels, table.index, dtype=np.int64)
