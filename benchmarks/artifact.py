"""Size, speed and parity of the files that ship: `python benchmarks/artifact.py [--images 2000]`.

Prints a table of both reference models: float and integer file side by side, in OpenVINO and ONNX
Runtime, with one thread, and how far the integer files agree with the simulation on real images.
Figures depend on the machine, so they are in the output and in no file of the audit.
"""

from __future__ import annotations

import argparse
import gzip
import platform
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from safetensors.torch import load_file

from ptq_pipeline.core.provenance import cpu_flags
from ptq_pipeline.models import Preprocessing, mobilenet_v2_small, resnet20
from ptq_pipeline.ptq import MethodSpec, as_tensor_batches, calibrate, prepare
from ptq_pipeline.ptq.export import export_onnx
from ptq_pipeline.runtimes import (
    OnnxruntimeRuntime,
    OpenvinoRuntime,
    SimulatedRuntime,
    measure_speed,
    parity,
)
from ptq_pipeline.runtimes.openvino import save

ROOT = Path(__file__).parents[1]
PREPROCESSING = Preprocessing((0.286,), (0.353,))
BATCH = 250


def real(split: str, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the first images and labels of the embedded data."""
    folder = ROOT / "data/01_raw/fashion_mnist" / split
    pixels = gzip.decompress((folder / "images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((folder / "labels-idx1-ubyte.gz").read_bytes())
    images = np.frombuffer(pixels, np.uint8, number * 784, 16).reshape(-1, 1, 28, 28)
    return images, np.frombuffer(labels, np.uint8, number, 8).astype(int)


def top1(predictor, inputs: np.ndarray) -> np.ndarray:
    """Return the predicted class of each image."""
    parts = [predictor(inputs[start : start + BATCH]) for start in range(0, len(inputs), BATCH)]
    return np.concatenate(parts).argmax(1)


def measure(name: str, images: int) -> None:
    """Print the rows of one reference model."""
    pixels, labels = real("test", images)
    inputs = PREPROCESSING(pixels)
    calibration = as_tensor_batches(PREPROCESSING(pixels[-256:]))
    model = {"resnet20": resnet20, "mobilenet_v2_small": mobilenet_v2_small}[name]()
    weights = load_file(ROOT / f"data/06_models/reference/{name}.safetensors")
    model.load_state_dict(weights, strict=False)
    prepared = prepare(model, torch.from_numpy(inputs[:4]))
    openvino, onnx = OpenvinoRuntime(threads=1), OnnxruntimeRuntime(threads=1)
    bits = {"float": None, "W8A8": (8, 8), "W4A8": (4, 8), "W4A4": (4, 4), "W3A3": (3, 3)}
    for label, widths in bits.items():
        method = None if widths is None else MethodSpec(*widths)
        parameters = None if method is None else calibrate(prepared, calibration, method)
        expected = top1(SimulatedRuntime().compile(prepared, parameters), inputs)
        with TemporaryDirectory() as folder:
            compiled = openvino.compile(prepared, parameters)
            graph = save(compiled, Path(folder) / "model.xml")
            file = Path(folder) / "model.onnx"
            file.write_bytes(export_onnx(prepared, parameters))
            files = {"openvino": graph, "onnxruntime": (file,)}
            loaded = {"openvino": openvino.load(graph[0]), "onnxruntime": onnx.load(file)}
            for runtime, predictor in loaded.items():
                size = sum(part.stat().st_size for part in files[runtime]) / 1024
                speed = measure_speed(predictor, inputs[:BATCH])
                table = parity(
                    expected, top1(predictor, inputs), labels, [str(i) for i in range(10)]
                )
                mean = np.average(table["agreement"], weights=table["n"])
                least = table["agreement"].min()
                print(
                    f"| {name} | {label} | {runtime} | {size:.0f} | {speed['latency_ms']:.2f} | "
                    f"{speed['images_per_second']:.0f} | {100 * mean:.2f} | {100 * least:.2f} | "
                    f"{100 * -table['difference'].min():+.2f} |",
                    flush=True,
                )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=2000)
    arguments = parser.parse_args()
    packages = ("torch", "openvino", "onnx", "onnxruntime")
    print(platform.machine(), " ".join(cpu_flags()))
    print(", ".join(f"{name} {version(name)}" for name in packages), "one thread")
    print(
        "| model | bits | runtime | KiB | ms, 1 image | images/s | agreement % | worst class % | "
        "worst drop added, points |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for model in ("resnet20", "mobilenet_v2_small"):
        measure(model, arguments.images)
