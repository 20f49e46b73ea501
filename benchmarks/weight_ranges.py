"""Why ``mse`` weight ranges lose to ``minmax`` at 2 bits, although their error is smaller.

Usage: ``python benchmarks/weight_ranges.py`` after the first line of ``make reconstruction``.

Both reference models at W2A4, nearest rounding, ``mse`` activation ranges, first and last layer 8
bits, one calibration set of 256 images, scores of the reference images. For both weight ranges it
prints the relative squared error of the weights, the norm of the quantized weights against that of
the float ones (below 1, every layer returns less than it should), and accuracy without and with
batch-norm re-estimation, which restores mean and spread of what a layer returns.
"""

import numpy as np
from study_data import accuracy, load_images, load_model, load_samples, load_study, rows_of

from ptq_pipeline.models.loading import prepared_model
from ptq_pipeline.ptq import as_tensor_batches, method_from_json, quantize_model
from ptq_pipeline.runtimes import build_runtime, predict_top1


def main() -> None:
    """Measure and print."""
    samples, images = load_samples(), load_images()
    labels = samples.set_index("sample_id")["label"]
    drawn = np.random.default_rng(2303).choice(rows_of(samples, "pool"), 256, replace=False)
    scored = rows_of(samples, "reference")
    runtime = build_runtime("openvino", threads=1)
    print("| model | weight range | error | norm | average, worst class, % | re-estimated |")
    print("|---|---|---|---|---|---|")
    for name, options in load_study("study")["models"].items():
        model = load_model(name)
        prepared = prepared_model(model, (1, 28, 28))
        batches = as_tensor_batches(model.preprocessing(images[np.sort(drawn)]))
        ends = dict.fromkeys(options["ends"], 8)
        for estimator in ("minmax", "mse"):
            scores = []
            for corrections in ([], ["batch_norm_reestimation"]):
                method = {
                    "name": "nearest",
                    "weight_bits": 2,
                    "activation_bits": 4,
                    "weight_symmetric": False,
                    "weight_range": estimator,
                    "activation_range": "mse",
                    "corrections": corrections,
                    "layer_weight_bits": ends,
                    "layer_activation_bits": ends,
                }
                found = quantize_model(prepared, batches, method_from_json(method), seed=0)
                if not corrections:
                    error, norm = _weight_error(prepared, found, ends)
                predictor = runtime.compile(prepared, found)
                got = predict_top1(predictor, images, model.preprocessing, rows=scored)
                average, worst = accuracy(got, labels[scored].to_numpy())
                scores.append(f"{100 * average:.1f}, {100 * worst:.1f}")
            print(f"| {name} | {estimator} | {error:.3f} | {norm:.3f} | {' | '.join(scores)} |")


def _weight_error(prepared, found, ends) -> tuple[float, float]:
    """Return relative squared error and norm ratio, both as means over the 2-bit layers."""
    errors, norms = [], []
    for name in found.layers.keys() - ends.keys():
        weight = prepared.weight(name)
        quantized = found.layers[name].weight.dequantized()
        errors.append(((quantized - weight) ** 2).sum() / (weight**2).sum())
        norms.append(np.sqrt((quantized**2).sum() / (weight**2).sum()))
    return float(np.mean(errors)), float(np.mean(norms))


if __name__ == "__main__":
    main()
