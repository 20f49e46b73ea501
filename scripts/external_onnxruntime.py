"""Stands for a vendor's toolchain: quantizes an ONNX file with ONNX Runtime, as a command.

    python scripts/external_onnxruntime.py MODEL CALIBRATION OUTPUT

MODEL is the float model, CALIBRATION an .npy file of float32 images, OUTPUT the quantized model.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from onnxruntime import quantization
from onnxruntime.quantization.shape_inference import quant_pre_process


class Images(quantization.CalibrationDataReader):
    """Gives one batch after the other."""

    def __init__(self, images: np.ndarray, name: str, size: int = 64) -> None:
        batches = (images[start : start + size] for start in range(0, len(images), size))
        self.batches = iter([{name: batch} for batch in batches])

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Return the next batch, None at the end."""
        return next(self.batches, None)


def main(model: str, calibration: str, output: str) -> None:
    """Quantize."""
    images = np.load(calibration, allow_pickle=False)
    name = onnx.load(model).graph.input[0].name
    with TemporaryDirectory() as folder:
        inferred = Path(folder) / "inferred.onnx"
        quant_pre_process(model, inferred, skip_symbolic_shape=True)
        quantization.quantize_static(inferred, output, Images(images, name), per_channel=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
