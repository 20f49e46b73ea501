"""Which public classifiers can be audited: torchvision's and timm's, with random weights, W8A8.

Usage: ``python benchmarks/model_study.py`` (``make model-study``). Every model runs in a process of
its own, the smallest first, with the smallest images that it takes. It is prepared, quantized with
eight images, and written; both files are loaded in their runtimes and must answer as the models in
memory, class by class. What is done is kept in ``benchmarks/model_study.jsonl``, so an interrupted
study goes on; ``--limit-minutes`` ends it earlier. The tables go to docs/models.md.
"""

import argparse
import json
import platform
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
RESULTS, PAGE = PROJECT / "benchmarks/model_study.jsonl", PROJECT / "docs/models.md"
BEGIN, END = "<!-- model-study begins -->", "<!-- model-study ends -->"
# Sides that are tried, the smallest first; some networks take one only.
SIDES = (32, 64, 96, 128, 160, 192, 224, 240, 256, 288, 299, 320, 384)
CLASSES, IMAGES = 10, 16
# Of a refusal; a served model may take longer.
MINUTE = 60
LONGEST_SECONDS = 900
# More parameters than this machine's memory holds several times over.
MOST_PARAMETERS = 100e6
TIMM = (
    "resnet10t", "resnet26d", "seresnet18", "resnetv2_50x1_bit", "nf_resnet26", "skresnet18",
    "mobilenetv3_small_100", "mobilenetv4_conv_small", "mobilenetv4_hybrid_medium",
    "efficientnet_lite0", "tf_efficientnet_lite0", "tf_efficientnetv2_b0", "mixnet_s",
    "ghostnet_100", "lcnet_050", "fbnetc_100", "mnasnet_small", "rexnet_100", "repvgg_a0",
    "mobileone_s0", "fastvit_t8", "regnety_002", "dla34", "hrnet_w18_small", "darknet17",
    "cspresnet50", "vovnet39a", "densenet121", "xception41", "inception_v4", "selecsls42",
    "convnext_atto", "convnextv2_atto", "vit_tiny_patch16_224", "deit_tiny_patch16_224",
    "swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256", "maxvit_nano_rw_256",
    "coatnet_nano_rw_224", "levit_128s", "efficientformer_l1", "efficientvit_b0", "mobilevit_xxs",
    "mobilevitv2_050", "poolformer_s12", "mixer_s32_224", "resmlp_12_224", "gmlp_ti16_224",
    "pit_ti_224", "xcit_nano_12_p16_224", "cait_xxs24_224", "edgenext_xx_small",
    "eva02_tiny_patch14_224",
)  # fmt: skip


def names() -> list[tuple[float, str]]:
    """Return every model that is looked at and its parameters in millions, the smallest first."""
    import timm
    import torch
    import torchvision

    found = []
    for name in torchvision.models.list_models(module=torchvision.models):
        with torch.device("meta"):
            network = torchvision.models.get_model(name, weights=None, num_classes=CLASSES)
        found.append((_millions(network), f"torchvision {name}"))
    for name in TIMM:
        network = timm.create_model(name, num_classes=CLASSES)
        found.append((_millions(network), f"timm {name}"))
    return sorted(found)


def _millions(network) -> float:
    return round(sum(each.numel() for each in network.parameters()) / 1e6, 2)


def build(name: str):
    """Return a network with random weights, in evaluation mode."""
    import torch

    package, _, model = name.partition(" ")
    torch.manual_seed(0)
    if package == "timm":
        import timm

        return timm.create_model(model, num_classes=CLASSES).eval()
    import torchvision

    return torchvision.models.get_model(model, weights=None, num_classes=CLASSES).eval()


def look_at(name: str) -> dict:
    """Take one model the whole way and say what came of it."""
    import numpy as np
    import torch

    from ptq_pipeline.core.errors import InputError
    from ptq_pipeline.ptq import MethodSpec, as_tensor_batches, prepare, quantize_model

    network = build(name)
    side, inputs = smallest(network)
    started = time.process_time()
    try:
        prepared = prepare(network, torch.from_numpy(inputs[:2]))
        batches = as_tensor_batches(inputs[:8])
        parameters = quantize_model(prepared, batches, MethodSpec(), seed=0)
        different = answers(prepared, parameters, inputs)
    except InputError as error:
        seconds = round(time.process_time() - started, 1)
        return {"side": side, "served": False, "says": str(error), "seconds": seconds}
    with torch.inference_mode():
        logits = network(torch.from_numpy(inputs)).numpy()
    return {
        "side": side,
        "served": not any(different.values()),
        "says": "" if not any(different.values()) else f"files answer otherwise: {different}",
        "seconds": round(time.process_time() - started, 1),
        "layers": len(prepared.layers),
        "products": len(prepared.products),
        "classes_answered": int(np.unique(logits.argmax(1)).size),
    }


def smallest(network):
    """Return the smallest side that a network takes, and images of noise of that size."""
    import numpy as np
    import torch

    for side in SIDES:
        shape = (IMAGES, 3, side, side)
        inputs = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        # Otherwise all images look alike to a network of random weights.
        inputs *= np.linspace(0.2, 3.0, IMAGES, dtype=np.float32)[:, None, None, None]
        try:
            with torch.inference_mode():
                found = network(torch.from_numpy(inputs[:2]))
        except Exception:  # noqa: S112 - a network refuses a size with anything
            continue
        if isinstance(found, torch.Tensor) and bool(torch.isfinite(found).all()):
            return side, inputs
    raise SystemExit("it takes no size that was tried")


def answers(prepared, parameters, inputs) -> dict[str, int]:
    """Return by runtime how many answers of the shipped file differ from the model in memory."""
    from tempfile import TemporaryDirectory

    from ptq_pipeline.artifact.writing import artifact_files
    from ptq_pipeline.runtimes import build_runtime

    files = artifact_files(prepared, parameters, inputs[:8], {})
    different = {}
    with TemporaryDirectory() as folder:
        for name, content in files.items():
            (Path(folder) / name).write_bytes(content)
        for name, file in (("openvino", "model.xml"), ("onnxruntime", "model.onnx")):
            runtime = build_runtime(name)
            judged = runtime.compile(prepared, parameters)(inputs).argmax(1)
            shipped = runtime.load(Path(folder) / file)(inputs).argmax(1)
            different[name] = int((judged != shipped).sum())
    return different


def study(limit_minutes: float) -> None:
    """Look at what was not looked at yet, and write the page."""
    known = {row["name"] for row in results()}
    deadline = time.monotonic() + 60 * limit_minutes
    for millions, name in names():
        if name in known or millions > MOST_PARAMETERS / 1e6 or time.monotonic() > deadline:
            continue
        command = [sys.executable, __file__, "--model", name]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=LONGEST_SECONDS
            )
            lines = done.stdout.strip().splitlines()
            last = (done.stderr.strip().splitlines() or ["?"])[-1]
            crashed = {"served": False, "says": f"CRASH {last[:200]}", "seconds": 0.0, "side": 0}
            row = json.loads(lines[-1]) if done.returncode == 0 and lines else crashed
        except subprocess.TimeoutExpired:
            row = {"served": False, "says": "TIMEOUT", "seconds": LONGEST_SECONDS, "side": 0}
        with RESULTS.open("a") as stream:
            stream.write(json.dumps({"name": name, "millions": millions, **row}) + "\n")
        sys.stdout.write(f"{name}: {'served' if row['served'] else row['says']}\n")
        sys.stdout.flush()
    write_page()


def results() -> list[dict]:
    """Return what is known of each model."""
    if not RESULTS.exists():
        return []
    return [json.loads(line) for line in RESULTS.read_text().splitlines()]


def write_page() -> None:
    """Put the tables into docs/models.md."""
    rows = sorted(results(), key=lambda row: row["name"])
    served = [row for row in rows if row["served"]]
    late = [row for row in rows if not row["served"] and row["seconds"] > MINUTE]
    versions = ", ".join(
        f"{name} {version(name)}" for name in ("torchvision", "timm", "torch", "openvino")
    )
    share = len(served) / max(1, len(rows))
    lines = [
        BEGIN,
        f"`make model-study` looked at {len(rows)} classifiers of at most "
        f"{MOST_PARAMETERS / 1e6:.0f} million parameters with random weights ({versions}; "
        f"{platform.machine()}): **{len(served)} are served ({share:.0%})**, "
        f"{len(rows) - len(served)} are refused, {len(late)} of them after more than a minute of "
        "processor time. Served: prepared, quantized to 8 bits, written, and both files answer in "
        "OpenVINO and ONNX Runtime as the models in memory.",
        "",
        "| model | parameters | side | layers | products | |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['name']} | {row['millions']} M | {row['side']} | {row.get('layers', '')} | "
        f"{row.get('products') or ''} | {row['says'].replace('|', '/')} |"
        for row in rows
    ]
    text = PAGE.read_text()
    before, rest = text.split(BEGIN)
    PAGE.write_text(before + "\n".join(lines) + "\n" + END + rest.split(END)[1])


def main() -> None:
    """Run the study, or one model of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="look at this one and print what came of it as JSON")
    parser.add_argument("--limit-minutes", type=float, default=240.0)
    arguments = parser.parse_args()
    if arguments.model:
        sys.stdout.write(json.dumps(look_at(arguments.model)) + "\n")
    else:
        study(arguments.limit_minutes)


if __name__ == "__main__":
    main()
