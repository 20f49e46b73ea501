"""Tables of outcomes of made-up models, as people bring them."""

import numpy as np
import pandas as pd


def answers(units=3000, lost=0, classes=5, seed=0, float_wrong=0.06):
    """Answers of which the quantized model loses the first ``lost`` that were right.

    The ids are texts, the label a name, ``tone`` a group column.
    """
    rng = np.random.default_rng(seed)
    label = rng.integers(0, classes, units)
    before = np.where(rng.random(units) < float_wrong, (label + 1) % classes, label)
    after = before.copy()
    gone = np.flatnonzero(before == label)[:lost]
    after[gone] = (label[gone] + 2) % classes
    names = np.array([f"class {c}" for c in range(classes)])
    return pd.DataFrame(
        {
            "unit_id": [f"u{number:05d}" for number in range(units)],
            "label": names[label],
            "float_answer": names[before],
            "quantized_answer": names[after],
            "tone": rng.choice(["dark", "light"], units),
        }
    )


def right_or_wrong(units=3000, lost=0, seed=0):
    """The same as right and wrong alone."""
    table = answers(units, lost, seed=seed)
    return pd.DataFrame(
        {
            "unit_id": table["unit_id"],
            "float_ok": (table["float_answer"] == table["label"]).astype(int),
            "quantized_ok": (table["quantized_answer"] == table["label"]).astype(int),
            "tone": table["tone"],
        }
    )


def scores(units=3000, loss=0.004, seed=0):
    """Scores in [0, 1], of which the quantized model loses ``loss`` on average."""
    rng = np.random.default_rng(seed)
    before = np.clip(rng.normal(0.8, 0.1, units), 0, 1)
    after = np.clip(before - rng.exponential(loss, units), 0, 1)
    ids = [f"u{number:05d}" for number in range(units)]
    tone = rng.choice(["dark", "light"], units)
    return pd.DataFrame({"unit_id": ids, "float_ok": before, "quantized_ok": after, "tone": tone})
