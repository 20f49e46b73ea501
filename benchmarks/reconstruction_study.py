"""Average and worst-class accuracy of every method on both reference models, same calibration sets.

Usage: ``make reconstruction``; after its first line (``data_loading``) also single parts of it::

    python benchmarks/reconstruction_study.py [--models NAME ...] [--methods NAME ...]
        [--bits W4A4 ...] [--draws N] [--table-only]

What to run stands in ``conf/reconstruction/study.yml``. Calibration sets come from the pool; scores
are of the selection and reference images, so no audit image is opened. Trials are kept below
``data/reconstruction``; a second call goes on where the first one stopped. The table is written to
``data/reconstruction/08_reporting/methods.md``.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from ptq_pipeline.files import replacing
from ptq_pipeline.models import FloatModel, Preprocessing, load_float_model
from ptq_pipeline.ptq import method_from_json
from ptq_pipeline.runtimes import build_runtime
from ptq_pipeline.trials.evaluation import CLEAN, Evaluation
from ptq_pipeline.trials.execution import TrialRunner
from ptq_pipeline.trials.store import TrialStore

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "data/reconstruction"
TABLE = DATA / "08_reporting/methods.md"


def main() -> None:
    """Run what is missing and print the table of what is there."""
    study = yaml.safe_load((ROOT / "conf/reconstruction/study.yml").read_text(encoding="utf-8"))
    asked = _arguments(study)
    samples = pd.read_parquet(DATA / "03_primary/samples.parquet")
    images = np.load(DATA / "03_primary/images.npy", mmap_mode="r")
    evaluation = _evaluation(samples, images)
    sets = _calibration_sets(samples, study)
    rows = []
    for name in asked.models:
        model = _model(name, study["models"][name])
        for bits in asked.bits:
            for label in asked.methods:
                method = _method(study["methods"][label], bits, study["models"][name]["ends"])
                runner = _runner(model, method, asked.threads)
                for draw, (set_id, chosen) in enumerate(list(sets.items())[: asked.draws]):
                    spec = runner.spec(set_id, evaluation)
                    if asked.table_only and runner.store.get(spec) is None:
                        continue
                    outcome = runner.run(set_id, images[chosen], evaluation)
                    if outcome.predictions is None:
                        raise SystemExit(f"{name} {bits} {label}: {outcome.error}")
                    right = outcome.predictions[CLEAN] == evaluation.samples["label"].to_numpy()
                    by_class = pd.Series(right).groupby(evaluation.samples["label"].to_numpy())
                    worst = float(by_class.mean().min())
                    rows.append((name, bits, label, draw, float(right.mean()), worst))
                    print(*rows[-1], flush=True)
        rows.append((name, "float", "float", 0, *_float_scores(model, evaluation, asked.threads)))
    with replacing(TABLE) as scratch:
        scratch.write_text(_table(rows), encoding="utf-8")
    print(_table(rows))


def _arguments(study: Mapping[str, Any]) -> argparse.Namespace:
    bits = [f"W{weights}A{activations}" for weights, activations in study["bits"]]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=list(study["models"]))
    parser.add_argument("--methods", nargs="+", default=list(study["methods"]))
    parser.add_argument("--bits", nargs="+", default=bits)
    parser.add_argument("--draws", type=int, default=study["draws"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--table-only", action="store_true")
    return parser.parse_args()


def _evaluation(samples: pd.DataFrame, images: np.ndarray) -> Evaluation:
    chosen = samples[samples["split"].isin(["selection", "reference"])].sort_values("sample_id")
    return Evaluation(chosen, {CLEAN: images}, {CLEAN: chosen["sample_id"].to_numpy()})


def _calibration_sets(samples: pd.DataFrame, study: Mapping[str, Any]) -> dict[str, np.ndarray]:
    pool = samples.loc[samples["split"] == "pool", "sample_id"].to_numpy()
    size, seed = study["set_size"], study["seed"]
    return {
        f"study-{seed}-{size}-{draw}": np.random.default_rng([seed, draw]).choice(
            pool, size, replace=False
        )
        for draw in range(study["draws"])
    }


def _model(name: str, options: Mapping[str, Any]) -> FloatModel:
    return load_float_model(
        factory=options["factory"],
        weights=ROOT / f"data/06_models/reference/{name}.safetensors",
        preprocessing=Preprocessing((0.286,), (0.353,)),
        classes=[str(label) for label in range(10)],
    )


def _method(options: Mapping[str, Any], bits: str, ends: list[str]) -> dict[str, Any]:
    weights, activations = bits.removeprefix("W").split("A")
    values = {**options, "weight_bits": int(weights), "activation_bits": int(activations)}
    if options["name"] == "nearest":
        values["layer_weight_bits"] = values["layer_activation_bits"] = dict.fromkeys(ends, 8)
    return method_from_json(values).to_json()


def _runner(model: FloatModel, method: dict[str, Any] | None, threads: int) -> TrialRunner:
    store = TrialStore(DATA / "07_model_output/trials")
    runtime = build_runtime("openvino", threads=threads)
    return TrialRunner(model, method or {}, runtime, store, {CLEAN: {}}, (1, 28, 28))


def _float_scores(model: FloatModel, evaluation: Evaluation, threads: int) -> tuple[float, float]:
    found = _runner(model, None, threads).run(None, None, evaluation).predictions
    assert found is not None
    labels = evaluation.samples["label"].to_numpy()
    right = pd.Series(found[CLEAN] == labels)
    return float(right.mean()), float(right.groupby(labels).mean().min())


def _table(rows: list[tuple]) -> str:
    columns = ["model", "bits", "method", "draw", "average", "worst class"]
    frame = pd.DataFrame(rows, columns=columns)
    lines = [
        "| model | bits | method | draws | average, % | worst class, % (mean; worst draw) |",
        "|---|---|---|---|---|---|",
    ]
    for (model, bits, method), part in frame.groupby(["model", "bits", "method"], sort=False):
        average, worst = 100 * part["average"], 100 * part["worst class"]
        spread = f" ± {average.std():.2f}" if len(part) > 1 else ""
        lines.append(
            f"| {model} | {bits} | {method} | {len(part)} | {average.mean():.2f}{spread} "
            f"| {worst.mean():.1f}; {worst.min():.1f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
