"""Which answers quantization changes: the float model's class, the integer model's, how often.

Usage, after ``kedro run``: ``python benchmarks/changed_answers.py [DATA]``. It looks at the audit
images and at the first draw of the recipe.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from ptq_pipeline.core.answers import FloatAnswers


def main(data: Path) -> None:
    """Print the five most frequent changes under every shift."""
    classes = json.loads((data / "03_primary/group_definitions.json").read_text())["classes"]
    samples = pd.read_parquet(data / "03_primary/samples.parquet")
    trials = pd.read_parquet(data / "07_model_output/trials.parquet")
    predictions = pd.read_parquet(data / "07_model_output/predictions.parquet")
    floats = pd.read_parquet(data / "07_model_output/float_predictions.parquet")
    first = trials.loc[trials["role"] == "evidence", "trial_id"].iloc[0]
    audit = samples.loc[samples["split"] == "audit", "sample_id"]
    of_float = FloatAnswers.of(floats)
    inside = np.isin(of_float.ids, audit)
    for own in of_float.read(predictions[predictions["trial_id"] == first]):
        shift, chosen = own.shift, inside[own.at]
        before, after = of_float.answers[shift][own.at[chosen]], own.predicted[chosen]
        rows = pd.DataFrame({"before": before, "after": after})
        counts = rows.value_counts().head(5)
        print(f"{shift}: {len(rows)} of {len(audit)} answers changed")
        for (before, after), count in counts.items():
            print(f"  {classes[before]} -> {classes[after]}: {count}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "data"))
