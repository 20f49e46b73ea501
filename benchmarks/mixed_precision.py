"""Bits per layer by the worst class against bits by the average, at the same size.

Usage: ``python benchmarks/mixed_precision.py`` after ``kedro run --env
study/reconstruction --pipelines data_loading``. Effects are measured on the
``selection`` images, the table is of the ``reference`` images: neither the pool's nor audit images.
"""

import argparse

import numpy as np
from bits_of_layers import choose_bits, measure_effects
from study_data import accuracy, load_images, load_model, load_samples, rows_of

from ptq_pipeline.models.loading import prepared_model
from ptq_pipeline.ptq import as_tensor_batches, method_from_json, quantize_model
from ptq_pipeline.runtimes import build_runtime, predict_top1

METHOD = {"weight_range": "mse", "activation_bits": 8}
BUDGETS = (2.5, 3.0, 4.0)


def main(name: str, threads: int) -> None:
    """Measure and print."""
    samples, images, model = load_samples(), load_images(), load_model(name)
    prepared = prepared_model(model, (1, 28, 28))
    runtime = build_runtime("openvino", threads=threads)
    rows = {split: rows_of(samples, split) for split in ("pool", "selection", "reference")}
    labels = samples.set_index("sample_id")["label"]
    drawn = np.random.default_rng(2303).choice(rows["pool"], 256, replace=False)
    batches = as_tensor_batches(model.preprocessing(images[np.sort(drawn)]))

    chosen_on = images[rows["selection"]]
    truth = labels[rows["selection"]].to_numpy()

    def logits(parameters):
        predictor = runtime.compile(prepared, parameters)
        parts = np.array_split(chosen_on, len(chosen_on) // 250)
        return np.concatenate([predictor(model.preprocessing(part)) for part in parts])

    method = method_from_json(METHOD)
    classes = {label: truth == int(label) for label in model.classes}
    effects = measure_effects(prepared, batches, method, logits, truth, classes, bits=(2, 3, 4, 8))
    print("| weight bits | chosen by | average, % | worst class, % |\n|---|---|---|---|")
    for budget in BUDGETS:
        plans = {
            by: choose_bits(prepared, effects, budget, by=by) for by in ("average", "worst_group")
        }
        if budget == int(budget):
            plans = {"uniform": {name: int(budget) for name in effects.layers}, **plans}
        for by, bits in plans.items():
            mixed = method_from_json({**METHOD, "layer_weight_bits": bits})
            predictor = runtime.compile(prepared, quantize_model(prepared, batches, mixed, seed=0))
            got = predict_top1(predictor, images, model.preprocessing, rows=rows["reference"])
            average, worst = accuracy(got, labels[rows["reference"]].to_numpy())
            print(f"| {budget:g} | {by} | {100 * average:.2f} | {100 * worst:.1f} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="resnet20")
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    main(asked.model, asked.threads)
