"""Average and worst-class accuracy of every method on both reference models, same calibration sets.

Usage: ``make reconstruction``; after its first line (``data_loading``) also single parts of it::

    python benchmarks/reconstruction_study.py [--study NAME] [--models NAME ...]
        [--methods NAME ...] [--bits W4A4 ...] [--draws N] [--threads N] [--table-only]

What to run is in ``benchmarks/reconstruction/NAME.yml``: ``study`` has all methods, ``rates``
the learning rates that the CPU presets were chosen from, ``originals`` the published presets beside
them, ``placement`` what the order of learned rounding comes from. Calibration sets come from the
pool; scores are of the splits named there, so no audit image is opened. Draw 1 of everything comes
first, then draw 2. Trials are kept below ``data/reconstruction``; a second call goes on where the
first one stopped, and calls for different models may run side by side. The table is written to
``data/reconstruction/08_reporting/NAME.md``.
"""

import argparse
from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import torch
from study_data import DATA, accuracy, load_images, load_model, load_samples, load_study

from ptq_pipeline.core.files import replacing
from ptq_pipeline.core.names import CLEAN
from ptq_pipeline.models import FloatModel
from ptq_pipeline.ptq import MethodConfig, MethodSpec, method_from_json
from ptq_pipeline.runtimes import build_runtime
from ptq_pipeline.trials.evaluation import Evaluation
from ptq_pipeline.trials.execution import TrialRunner
from ptq_pipeline.trials.trial import TrialOutcome, TrialStore
from ptq_pipeline.trials.workload import Workload


def main() -> None:
    """Run what is missing and print the table of what is there."""
    asked, study = _arguments()
    torch.set_num_threads(asked.threads)
    samples, images = load_samples(), load_images()
    chosen = samples[samples["split"].isin(study["splits"])].sort_values("sample_id")
    evaluation = Evaluation(chosen, {CLEAN: images}, {CLEAN: chosen["sample_id"].to_numpy()})
    models = {name: load_model(name) for name in asked.models}
    rows = []
    for draw, (set_id, drawn) in enumerate(_calibration_sets(samples, study, asked.draws).items()):
        for name, bits, label in product(asked.models, asked.bits, asked.methods):
            method = _method(study["methods"][label], bits, study["models"][name]["ends"])
            runner = _runner(models[name], method, asked.threads)
            spec = runner.spec(set_id, evaluation)
            if asked.table_only and runner.store.get(spec) is None:
                continue
            outcome = runner.run(set_id, images[drawn], evaluation)
            if outcome.predictions is None:
                raise SystemExit(f"{name} {bits} {label}: {outcome.error}")
            rows.append((name, bits, label, draw, *_scores(outcome, evaluation)))
            print(*rows[-1], flush=True)
    for name in asked.models:
        outcome = _runner(models[name], MethodSpec(), asked.threads).run(None, None, evaluation)
        rows.append((name, "float", "float", 0, *_scores(outcome, evaluation)))
    table = _table(rows)
    with replacing(DATA / f"08_reporting/{asked.study}.md") as scratch:
        scratch.write_text(table, encoding="utf-8")
    print(table)


def _arguments() -> tuple[argparse.Namespace, dict[str, Any]]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--study", default="study")
    parser.add_argument("--models", nargs="+")
    parser.add_argument("--methods", nargs="+")
    parser.add_argument("--bits", nargs="+")
    parser.add_argument("--draws", type=int)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--table-only", action="store_true")
    asked = parser.parse_args()
    study = load_study(asked.study)
    asked.models = asked.models or list(study["models"])
    asked.methods = asked.methods or list(study["methods"])
    asked.bits = asked.bits or [f"W{weights}A{inputs}" for weights, inputs in study["bits"]]
    asked.draws = asked.draws or study["draws"]
    return asked, study


def _scores(outcome: TrialOutcome, evaluation: Evaluation) -> tuple[float, float]:
    """Return average and worst-class accuracy."""
    assert outcome.predictions is not None
    return accuracy(outcome.predictions[CLEAN], evaluation.samples["label"].to_numpy())


def _calibration_sets(
    samples: pd.DataFrame, study: Mapping[str, Any], draws: int
) -> dict[str, np.ndarray]:
    pool = samples.loc[samples["split"] == "pool", "sample_id"].to_numpy()
    size, seed = study["set_size"], study["seed"]
    return {
        f"study-{seed}-{size}-{draw}": np.random.default_rng([seed, draw]).choice(
            pool, size, replace=False
        )
        for draw in range(draws)
    }


def _method(options: Mapping[str, Any], bits: str, ends: list[str]) -> MethodConfig:
    weights, activations = bits.removeprefix("W").split("A")
    values = {**options, "weight_bits": int(weights), "activation_bits": int(activations)}
    if options["name"] == "nearest":
        values["layer_weight_bits"] = values["layer_activation_bits"] = dict.fromkeys(ends, 8)
    return method_from_json(values)


def _runner(model: FloatModel, method: MethodConfig, threads: int) -> TrialRunner:
    store = TrialStore(DATA / "07_model_output/trials")
    runtime = build_runtime("openvino", threads=threads)
    workload = Workload(model, runtime, (1, 28, 28), statistics_folder=store.statistics)
    return TrialRunner(workload, method, store, {CLEAN: {}})


def _table(rows: list[tuple]) -> str:
    columns = ["model", "bits", "method", "draw", "average", "worst class"]
    frame = pd.DataFrame(rows, columns=columns).sort_values("model", ascending=False, kind="stable")
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
