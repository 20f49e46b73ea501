"""Which ONNX graphs become float models: exported here, converted, held against ONNX Runtime.

    python benchmarks/onnx_study.py

Networks of torchvision and timm with random weights, by torch's TorchScript exporter in an old and
a newer set of operators. Prints a line each: what came of it, and the largest difference of
outputs beside their size. Minutes.
"""

import sys
import tempfile
import warnings
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


def network(name: str) -> torch.nn.Module:
    """The network with seeded random weights."""
    torch.manual_seed(0)
    if name in TORCHVISION:
        return torchvision.models.get_model(name).eval()
    return timm.create_model(name).eval()


def outcome(name: str, side: int, opset: int) -> str:
    """What becomes of one network, in a few words."""
    module, shape = network(name), (2, 3, side, side)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.onnx"
        try:
            torch.onnx.export(module, torch.zeros(shape), path, dynamo=False, opset_version=opset)
        except Exception as error:  # exporters raise anything
            return f"not exported ({type(error).__name__})"
        try:
            converted = network_of_onnx(path.read_bytes(), path)
        except InputError as error:
            return f"refused: {str(error).partition(': ')[2][:90]}"
        images = np.random.default_rng(1).normal(size=shape).astype(np.float32)
        session = onnxruntime.InferenceSession(path)
        expected = session.run(None, {session.get_inputs()[0].name: images})[0]
    with torch.inference_mode():
        found = converted(torch.from_numpy(images)).numpy()
    differs = np.abs(found - expected).max() / max(1.0, np.abs(expected).max())
    try:
        layers = len(prepare(converted, torch.from_numpy(images)).layers)
    except Exception as error:  # what the engine cannot place it refuses
        return f"{differs:.1e}, not quantized: {' '.join(str(error).split())[:80]}"
    return f"{differs:.1e}, {layers} layers"


def main() -> None:
    """Print a line for each network and set of operators."""
    warnings.simplefilter("ignore")
    wanted = sys.argv[1:]
    for name, side in {**TORCHVISION, **TIMM}.items():
        if wanted and name not in wanted:
            continue
        for opset in OPSETS:
            print(f"{name:26s} opset {opset:2d}  {outcome(name, side, opset)}", flush=True)


if __name__ == "__main__":
    main()
