"""Labels of a source as class indices."""

import numpy as np
import pandas as pd

from ptq_pipeline.errors import InputError


def encode_labels(table: pd.DataFrame, classes: tuple[str, ...]) -> pd.Series:
    """Return labels as class indices; labels may be indices or class names.

    Raises:
        InputError: if a label is missing or outside the model's classes.
    """
    labels = table["label"]
    if not pd.api.types.is_integer_dtype(labels):
        index = {name: number for number, name in enumerate(classes)}
        labels = labels.map(lambda value: index.get(str(value), -1))
    outside = (labels < 0) | (labels >= len(classes))
    if outside.any():
        row = outside.idxmax()
        raise InputError(
            f"label '{table['label'][row]}' of '{table['name'][row]}' is outside the model's "
            f"{len(classes)} classes ({int(outside.sum())} such labels); mend the labels or "
            "'classes' of the model"
        )
    return labels.astype(np.int64)
