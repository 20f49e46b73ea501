"""Stands for a device on a cable: runs an ONNX file on images and writes its answers.

    python scripts/external_device.py MODEL IMAGES OUTPUT

MODEL is what the quantizer wrote, IMAGES an .npy file of float32 images, OUTPUT an .npy file of
integers, the class of each image.
"""

import sys

import numpy as np
import onnxruntime


def main(model: str, images: str, output: str, at_a_time: int = 200) -> None:
    """Answer."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    given = np.load(images, allow_pickle=False)
    batches = (given[start : start + at_a_time] for start in range(0, len(given), at_a_time))
    answers = [session.run(None, {name: batch})[0].argmax(1) for batch in batches]
    # A file object: numpy adds a suffix to a name that has none.
    with open(output, "wb") as written:
        np.save(written, np.concatenate(answers))


if __name__ == "__main__":
    main(*sys.argv[1:])
