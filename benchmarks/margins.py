"""Print how quantization moves the margin of one class: ``python benchmarks/margins.py Sandal``.

The margin is the logit of an image's own class minus the largest other one. Needs the data of
``kedro run --pipelines data_loading``; looks at the selection images.
"""

import sys
from pathlib import Path

import numpy as np
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

METHODS = ("minmax", "mse_weights", "mse")
MODEL = "resnet20"


def main(group: str) -> None:
    """Print one line per method and bits."""
    root = Path(__file__).parents[1]
    bootstrap_project(root)
    with KedroSession.create(root) as session:
        context = session.load_context()
        load = context.catalog.load
        parameters = context.params["benchmark"]
        model, samples, images = load(f"{MODEL}_model"), load("samples"), load("images")
    from ptq_pipeline.pipelines.benchmark.trials import SharedSets
    from ptq_pipeline.runtimes import build_runtime

    own = list(model.classes).index(group)
    looked = samples[(samples["split"] == "selection") & (samples["label"] == own)]
    pool = samples.loc[samples["split"] == "pool", "sample_id"].to_numpy()
    chosen = np.random.default_rng(parameters.seed).choice(pool, parameters.set_size, replace=False)
    workload = SharedSets(model, build_runtime("openvino", threads=1), images.shape[1:])
    pixels = model.preprocessing(np.asarray(images[looked["sample_id"].to_numpy()]))

    def margins(quantized: object) -> tuple[np.ndarray, np.ndarray]:
        predictor = workload.runtime.compile(workload.prepared, quantized)
        logits = np.array(predictor(pixels))
        others = np.delete(logits, own, axis=1).max(1)
        return logits[:, own] - others, logits.argmax(1)

    reference, answers = margins(None)
    right = int((answers == own).sum())
    print(f"{MODEL}, {len(looked)} images of {group}, {right} right in float:")
    print(f"mean margin {reference.mean():.1f}\n")
    print("| ranges | bits | mean change of the margin | right | most taken for |")
    print("|" + "---|" * 5)
    for method in METHODS:
        for bits in parameters.bits:
            known = parameters.every_method[method, bits]
            quantized = workload.quantize(known, np.asarray(images[chosen]), 0)
            margin, answers = margins(quantized)
            wrong = answers[answers != own]
            taken = model.classes[np.bincount(wrong).argmax()] if len(wrong) else ""
            change = (margin - reference).mean()
            print(f"| {method} | {bits} | {change:+.1f} | {int((margin > 0).sum())} | {taken} |")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "Sandal")
