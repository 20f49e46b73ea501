"""A table instead of images: what a few bits cost a classifier of tumours, as a table of answers.

    python benchmarks/table_case.py answers.csv --bits 3
    kedro ptq judge answers.csv --limit class=5

The data come with scikit-learn: 569 tumours of the Wisconsin diagnostic study (W. H. Wolberg et
al., 1995), 30 measurements each. Every tumour is answered by a logistic regression that was trained
without it (ten folds). Its quantized copy has the same weights and inputs, rounded.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

SIZES = ("small", "middle", "large")


def rounded(values: np.ndarray, low: np.ndarray, high: np.ndarray, bits: int) -> np.ndarray:
    """Give ``values`` on a grid of ``2**bits`` steps from ``low`` to ``high``, cut off outside."""
    step = (high - low) / (2**bits - 1)
    return low + step * np.clip(np.rint((values - low) / step), 0, 2**bits - 1)


def answers(bits: int, folds: int = 10) -> pd.DataFrame:
    """Answer every tumour by both models.

    Returns:
        ``unit_id, label, float_answer, quantized_answer, size``; the size is a third of the radius.
    """
    data = load_breast_cancer()
    names = np.array([str(name) for name in data.target_names])
    found = np.empty((2, len(data.target)), dtype=int)
    split = StratifiedKFold(folds, shuffle=True, random_state=0)
    for train, test in split.split(data.data, data.target):
        mean, deviation = data.data[train].mean(axis=0), data.data[train].std(axis=0)
        inputs = (data.data - mean) / deviation
        model = LogisticRegression(max_iter=1000).fit(inputs[train], data.target[train])
        found[0, test] = model.predict(inputs[test])
        # Ranges of the inputs by the training rows, of the weights by the largest.
        low, high = inputs[train].min(axis=0), inputs[train].max(axis=0)
        largest = np.abs(model.coef_).max()
        weights = rounded(model.coef_, -largest, largest, bits)
        scores = rounded(inputs[test], low, high, bits) @ weights.T + model.intercept_
        found[1, test] = (scores[:, 0] > 0).astype(int)
    radius = data.data[:, list(data.feature_names).index("mean radius")]
    thirds = np.searchsorted(np.quantile(radius, [1 / 3, 2 / 3]), radius)
    return pd.DataFrame(
        {
            "unit_id": range(len(data.target)),
            "label": names[data.target],
            "float_answer": names[found[0]],
            "quantized_answer": names[found[1]],
            "size": np.array(SIZES)[thirds],
        }
    )


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--bits", type=int, default=3)
    chosen = parser.parse_args()
    table = answers(chosen.bits)
    table.to_csv(chosen.output, index=False)
    right = [
        float((table[name] == table["label"]).mean())
        for name in ("float_answer", "quantized_answer")
    ]
    print(f"{len(table)} rows, right: float {right[0]:.1%}, {chosen.bits} bits {right[1]:.1%}")


if __name__ == "__main__":
    main()
