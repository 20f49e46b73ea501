"""Which ONNX graphs become float models: exported here, converted, held against ONNX Runtime.

    python benchmarks/onnx_study.py

Networks of torchvision and timm with random weights, by torch's TorchScript exporter in an old and
a newer set of operators, for one image at a time as its examples do. Prints a line each: what came
of it, and the largest difference of outputs beside the largest output. Batch norms take their
statistics from noise first: without them the outputs of deep networks vanish, and equal zeros would
say nothing. What was found is kept in benchmarks/tables/onnx_study.json, so a study that was
stopped goes on, and in the table of docs/models.md; with names of networks these alone are looked
at, and nothing is kept.
"""

import json
import platform
import sys
import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnxruntime
import timm
import torch
import torchvision

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.models.onnx_file import network_of_onnx
from ptq_pipeline.ptq import prepare

TORCHVISION = {
    **dict.fromkeys(("resnet18", "mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0"), 64),
    **dict.fromkeys(("shufflenet_v2_x1_0", "regnet_y_400mf", "densenet121", "mnasnet0_5"), 64),
    **dict.fromkeys(("squeezenet1_1", "convnext_tiny", "alexnet", "vgg11_bn"), 64),
    **dict.fromkeys(("resnext50_32x4d", "wide_resnet50_2"), 64),
    **{"googlenet": 96, "inception_v3": 128, "vit_b_16": 224, "swin_t": 64, "swin_v2_t": 64},
}
TIMM = {
    **dict.fromkeys(("resnet10t", "tf_efficientnet_lite0", "mobilenetv4_conv_small"), 64),
    **dict.fromkeys(
        ("ghostnet_100", "rexnet_100", "mobileone_s0", "repvgg_a0", "hardcorenas_a"), 64
    ),
    **dict.fromkeys(("convnextv2_atto", "mixnet_s", "edgenext_xx_small"), 64),
    **{"vit_tiny_patch16_224": 224},
}
OPSETS = (11, 17)
PAGE = Path(__file__).resolve().parents[1] / "docs/models.md"
KEPT = Path(__file__).resolve().parent / "tables/onnx_study.json"
BEGIN, END = "<!-- onnx-study begins -->", "<!-- onnx-study ends -->"
VERSIONS = ("torch", "onnxruntime", "onnx2pytorch", "onnxscript", "torchvision", "timm")


def network(name: str, side: int) -> torch.nn.Module:
    """The network with seeded random weights and batch norms that fit them."""
    torch.manual_seed(0)
    made = torchvision.models.get_model if name in TORCHVISION else timm.create_model
    module = made(name)
    for layer in module.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = None
    with torch.no_grad():
        for _ in range(2):
            module.train()(torch.randn(8, 3, side, side))
    return module.eval()


def outcome(module: torch.nn.Module, side: int, opset: int) -> str:
    """What becomes of one network, in a few words."""
    # As people export: for one image. Asked with several.
    shape = (1, 3, side, side)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.onnx"
        try:
            torch.onnx.export(module, torch.zeros(shape), path, dynamo=False, opset_version=opset)
        except Exception as error:  # exporters raise anything
            return f"torch does not export it ({type(error).__name__})"
        try:
            converted = network_of_onnx(path.read_bytes(), path)
        except InputError as error:
            return f"refused: {str(error).partition(': ')[2][:90]}"
        images = np.random.default_rng(1).normal(size=(3, *shape[1:])).astype(np.float32)
        session = onnxruntime.InferenceSession(path)
        name = session.get_inputs()[0].name
        expected = np.concatenate([session.run(None, {name: each[None]})[0] for each in images])
    with torch.inference_mode():
        found = converted(torch.from_numpy(images)).numpy()
    differs = f"{np.abs(found - expected).max() / np.abs(expected).max():.0e}"
    try:
        layers = len(prepare(converted, torch.from_numpy(images)).layers)
    except Exception as error:  # what the engine cannot place it refuses
        return f"{differs}, not quantized: {' '.join(str(error).split())[:80]}"
    return f"{differs}, {layers} layers"


def write_page(found: dict[str, list[str]]) -> None:
    """Put the table into docs/models.md."""
    served = sum(all(" layers" in each for each in row) for row in found.values())
    wanted = len(TORCHVISION) + len(TIMM)
    left = "" if len(found) == wanted else f" ({wanted - len(found)} more are named there)"
    versions = ", ".join(f"{name} {version(name)}" for name in VERSIONS)
    heads = " | ".join(f"operators {opset}" for opset in OPSETS)
    lines = [
        BEGIN,
        f"`python benchmarks/onnx_study.py` exported {len(found)} networks{left} with random "
        f"weights, for one image at a time, in two sets of operators; {served} come through in "
        "both: converted for any number of images, and every layer found. "
        "Given is the largest difference from ONNX Runtime's outputs, beside the largest output "
        f"({platform.machine()}, Python {platform.python_version()}; {versions}).",
        "",
        f"| network | {heads} |",
        "|---|" + "---|" * len(OPSETS),
        *(f"| {name} | {' | '.join(row)} |" for name, row in found.items()),
    ]
    before, rest = PAGE.read_text().split(BEGIN)
    PAGE.write_text(before + "\n".join(lines) + "\n" + END + rest.split(END)[1])


def main() -> None:
    """Print a line for each network and set of operators."""
    warnings.simplefilter("ignore")
    wanted, sides = sys.argv[1:], {**TORCHVISION, **TIMM}
    known = {} if wanted or not KEPT.is_file() else json.loads(KEPT.read_text())
    for name in wanted or [each for each in sides if each not in known]:
        module = network(name, sides[name])
        known[name] = [outcome(module, sides[name], opset) for opset in OPSETS]
        for opset, said in zip(OPSETS, known[name], strict=True):
            print(f"{name:26s} opset {opset:2d}  {said}", flush=True)
        if not wanted:
            ordered = {each: known[each] for each in sides if each in known}
            KEPT.write_text(json.dumps(ordered, indent=1) + "\n")
            write_page(ordered)


if __name__ == "__main__":
    main()
