"""Which public classifiers can be audited: torchvision's and timm's, with random weights, W8A8.

Usage: ``python benchmarks/model_study.py`` (``make model-study``). Every model runs in a process of
its own, the smallest first, with the smallest images that it takes. It is prepared, quantized with
eight images, and written; both files are loaded in their runtimes and must answer as the models in
memory, class by class. What is done is kept in ``benchmarks/model_study.jsonl``, so an interrupted
study goes on; ``--limit-minutes`` ends it earlier. The tables go to docs/models.md.
"""

import argparse
import json
import multiprocessing
import platform
import resource
import signal
import sys
import time
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path

from ptq_pipeline.models import Preprocessing

PROJECT = Path(__file__).resolve().parents[1]
RESULTS, PAGE = PROJECT / "benchmarks/model_study.jsonl", PROJECT / "docs/models.md"
BEGIN, END = "<!-- model-study begins -->", "<!-- model-study ends -->"
# Sides that are tried, the smallest first; some networks take one only.
SIDES = (32, 64, 96, 128, 160, 192, 224, 240, 256, 288, 299, 320, 384)
CLASSES, IMAGES = 10, 16
# And the file that each of them serves.
RUNTIMES = {"openvino": "model.xml", "onnxruntime": "model.onnx"}
PREPROCESSING = Preprocessing((0.5,) * 3, (0.25,) * 3)
# Processor seconds: of a refusal, and of a model altogether; and a bound by the clock.
MINUTE, LONGEST, LONGEST_BY_THE_CLOCK = 60, 240, 1800
# Torchvision's classifiers and those of `TIMM`.
LISTED = 133
# More parameters than this machine's memory holds several times over.
MOST_PARAMETERS = 150e6
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
        published = next(iter(torchvision.models.get_model_weights(name)))
        found.append((published.meta["num_params"], f"torchvision {name}"))
    for name in TIMM:
        with torch.device("meta"):
            network = timm.create_model(name)
        found.append((sum(each.numel() for each in network.parameters()), f"timm {name}"))
    return sorted((round(count / 1e6, 2), name) for count, name in found)


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
    """Take one model the whole way and say what came of it in each runtime.

    The steps are those of `ptq_pipeline.trials.readiness`, those of no runtime once for both.
    """
    import torch

    from ptq_pipeline.artifact.writing import artifact_files
    from ptq_pipeline.core.errors import PtqPipelineError
    from ptq_pipeline.models import FloatModel
    from ptq_pipeline.models.loading import prepared_model
    from ptq_pipeline.ptq import MethodSpec, as_tensor_batches, quantize_model

    torch.set_num_threads(1)
    network = build(name)
    side, images = smallest(network)
    classes = tuple(f"class {number}" for number in range(CLASSES))
    model = FloatModel(network, PREPROCESSING, classes, fingerprint=name)
    inputs = PREPROCESSING(images)
    row: dict = {"side": side}
    started = time.process_time()
    try:
        prepared = prepared_model(model, images.shape[1:])
        row |= {"layers": len(prepared.layers), "products": len(prepared.products)}
        batches = as_tensor_batches(inputs[::2])
        eight = quantize_model(prepared, batches, MethodSpec(), seed=0)
        files = artifact_files(prepared, eight, inputs[::2], {})
        for runtime in RUNTIMES:
            row[runtime] = agreement(model, prepared, eight, files, inputs, runtime)
        says = "; ".join(row[each].pop("says") for each in RUNTIMES if "says" in row[each])
    except PtqPipelineError as error:
        says = str(error)
    different = sum(row.get(each, {}).get("different", 0) for each in RUNTIMES)
    if different and not says:
        says = f"{different} answers of the files are not those of the models in memory"
    seconds = round(time.process_time() - started, 1)
    return {**row, "served": not says, "says": says, "seconds": seconds}


def smallest(network):
    """Return the smallest side that a network takes, and uint8 images of noise of that size."""
    import numpy as np
    import torch

    for side in SIDES:
        # Of different contrast: otherwise all images look alike to a network of random weights.
        noise = np.random.default_rng(0).normal(size=(IMAGES, 3, side, side))
        contrast = np.linspace(8, 120, IMAGES)[:, None, None, None]
        images = np.clip(128 + contrast * noise, 0, 255).astype(np.uint8)
        try:
            with torch.inference_mode():
                found = network(torch.from_numpy(PREPROCESSING(images[:2])))
            if isinstance(found, torch.Tensor) and bool(torch.isfinite(found).all()):
                see(network, images)
                return side, images
        except Exception:  # noqa: S112 - a network refuses a size with anything
            continue
    raise SystemExit("it takes no size that was tried")


def see(network, images) -> None:
    """Let the batch norms take mean and variance of these images.

    As they begin, outputs of a deep network are 1e-10, which no trained one's are, and integer
    kernels round such numbers to zero.
    """
    import torch
    from torch.nn.modules.batchnorm import _BatchNorm

    norms = [each for each in network.modules() if isinstance(each, _BatchNorm)]
    for norm in norms:
        # Of this one batch.
        norm.momentum = 1.0
        norm.train()
    with torch.no_grad():
        network(torch.from_numpy(PREPROCESSING(images)))
    network.eval()


def agreement(model, prepared, parameters, files, inputs, name: str) -> dict:
    """Return how many answers of the shipped file differ from the judged ones.

    A network of random weights answers nearly always the same class, so an answer is the class
    whose output is largest compared with that output's mean.
    """
    from tempfile import TemporaryDirectory

    import numpy as np

    from ptq_pipeline.core.errors import InputError
    from ptq_pipeline.runtimes import build_runtime
    from ptq_pipeline.trials.readiness import require_float_answers
    from ptq_pipeline.trials.workload import Workload

    runtime = build_runtime(name, threads=1)
    workload = Workload(model, runtime, inputs.shape[1:])
    workload.prepared = prepared
    try:
        require_float_answers(workload, inputs[::2], name)
    except InputError as error:
        return {"says": str(error)}
    judged = runtime.compile(prepared, parameters)(inputs)
    with TemporaryDirectory() as folder:
        for file, content in files.items():
            (Path(folder) / file).write_bytes(content)
        shipped = runtime.load(Path(folder) / RUNTIMES[name])(inputs)
    centre = judged.mean(0)
    answers = [(each - centre).argmax(1) for each in (judged, shipped)]
    return {
        "different": int((answers[0] != answers[1]).sum()),
        "classes_answered": int(np.unique(answers[0]).size),
    }


def study(limit_minutes: float) -> None:
    """Look at what was not looked at yet, and write the page."""
    known = {row["name"] for row in results()}
    deadline = time.monotonic() + 60 * limit_minutes
    imported()
    for millions, name in names():
        if name in known or millions > MOST_PARAMETERS / 1e6:
            continue
        if time.monotonic() > deadline:
            break
        row = in_a_process(name)
        with RESULTS.open("a") as stream:
            stream.write(json.dumps({"name": name, "millions": millions, **row}) + "\n")
        sys.stdout.write(f"{name}: {'served' if row['served'] else row['says']}\n")
        sys.stdout.flush()
    write_page()


def in_a_process(name: str) -> dict:
    """Look at a model in a process of its own, which may crash or take too long.

    It begins as a copy of this one, in which all that has to be imported is.
    """
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_told, args=(name, there))
    process.start()
    there.close()
    process.join(LONGEST_BY_THE_CLOCK)
    process.kill()
    process.join()
    if here.poll():
        try:
            return here.recv()
        except EOFError:
            pass
    late = process.exitcode in (-signal.SIGXCPU, -signal.SIGKILL)
    says = "TIMEOUT" if late else f"CRASH by signal {-(process.exitcode or 0)}"
    return {"served": False, "seconds": float(LONGEST), "side": 0, "says": says}


def _told(name: str, to: Connection) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (LONGEST, LONGEST))
    started = time.process_time()
    try:
        row = look_at(name)
    except (Exception, SystemExit) as error:
        says = f"CRASH {type(error).__name__}: {str(error)[:200]}"
        row = {"served": False, "side": 0, "says": says}
        row["seconds"] = round(time.process_time() - started, 1)
    to.send(row)


def imported() -> None:
    """Import here what every model needs, and let torch's exporter build its tables."""
    import onnxruntime  # noqa: F401
    import torch

    import ptq_pipeline.runtimes.openvino  # noqa: F401
    from ptq_pipeline.models import FloatModel
    from ptq_pipeline.models.loading import prepared_model
    from ptq_pipeline.ptq.export import float_graph

    torch.set_num_threads(1)
    small = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(),
        torch.nn.Linear(4, CLASSES),
    ).eval()  # fmt: skip
    classes = tuple(f"class {number}" for number in range(CLASSES))
    model = FloatModel(small, PREPROCESSING, classes, fingerprint="small")
    float_graph(prepared_model(model, (3, 8, 8)))


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
        f"`make model-study` begins with the smallest of {LISTED} classifiers and goes on where it "
        f"was; so far it has looked at {len(rows)} with random weights ({versions}; "
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
