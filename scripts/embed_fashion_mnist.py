"""Cut the embedded default data out of the complete Fashion-MNIST distribution.

Usage: ``python scripts/embed_fashion_mnist.py SOURCE [TARGET]`` where SOURCE holds the four
original ``*-ubyte.gz`` files (Debian package ``dataset-fashion-mnist``, or the ``raw`` folder that
``torchvision.datasets.FashionMNIST`` downloads). It writes, byte for byte the same each time:

* ``fashion_mnist/test``: the 10,000 test images (later split into selection and audit),
* ``fashion_mnist/heldout``: 11,000 of the 60,000 training images, for pool and reference,
* ``production/calm`` and ``production/drifted``: 2,000 further held-out images each,
* ``fashion_mnist/training_hashes.npy``: the first 8 bytes of the SHA-256 of every image that is
  left for training, so that "no training image stands in any split" can be checked without
  those images.

An image whose pixels occur more than once in the whole distribution is kept once, in the place that
comes first in the order test, held-out, production, training.
"""

import gzip
import hashlib
import struct
import sys
from pathlib import Path

import numpy as np

SEED = 20231303
HELD_OUT_PER_CLASS = 1_100
WINDOW_SIZE = 2_000
# A footwear season: the drifted window holds more shoes and bags and fewer shirts.
DRIFTED_CLASS_WEIGHTS = np.array([0.5, 1, 0.5, 1, 0.5, 2, 0.5, 1.5, 1, 1.5])


def read_idx(path: Path) -> np.ndarray:
    """Return the uint8 array stored in a gzipped idx file."""
    with gzip.open(path) as stream:
        dimensions = struct.unpack(">4B", stream.read(4))[3]
        shape = struct.unpack(f">{dimensions}I", stream.read(4 * dimensions))
        return np.frombuffer(stream.read(), np.uint8).reshape(shape)


def write_idx(path: Path, array: np.ndarray) -> None:
    """Write a uint8 array as a gzipped idx file without a time stamp."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = struct.pack(">4B", 0, 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    with path.open("wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as stream:
        stream.write(header + np.ascontiguousarray(array, np.uint8).tobytes())


def content_keys(images: np.ndarray) -> np.ndarray:
    """Return the first 8 bytes of each image's SHA-256 as uint64."""
    digests = b"".join(hashlib.sha256(image.tobytes()).digest()[:8] for image in images)
    return np.frombuffer(digests, ">u8").astype(np.uint64)


def photograph_differently(images: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Imitate another camera: underexposed (gamma 1.35), flatter (x 0.8), with sensor noise."""
    scaled = (images / 255.0) ** 1.35 * 0.8
    noisy = scaled + generator.normal(0.0, 0.02, images.shape)
    return np.clip(np.rint(noisy * 255.0), 0, 255).astype(np.uint8)


def write_pair(folder: Path, images: np.ndarray, labels: np.ndarray) -> None:
    """Write images and labels in the layout of the original distribution."""
    write_idx(folder / "images-idx3-ubyte.gz", images)
    write_idx(folder / "labels-idx1-ubyte.gz", labels)
    print(f"{folder}: {len(images)} images, classes {np.bincount(labels).tolist()}")


def main(source: Path, target: Path) -> None:
    """Write the embedded data below ``target``."""
    generator = np.random.default_rng(SEED)
    test_images = read_idx(source / "t10k-images-idx3-ubyte.gz")
    test_labels = read_idx(source / "t10k-labels-idx1-ubyte.gz")
    images = read_idx(source / "train-images-idx3-ubyte.gz")
    labels = read_idx(source / "train-labels-idx1-ubyte.gz")
    keys = content_keys(images)
    test_keys = content_keys(test_images)
    if len(np.unique(test_keys)) != len(test_keys):
        print("note: repeated pixels inside the test images; splitting keeps them together")
    _, first = np.unique(keys, return_index=True)
    unique = np.zeros(len(keys), bool)
    unique[first] = True
    usable = np.flatnonzero(unique & ~np.isin(keys, test_keys))
    print(f"{len(keys) - len(usable)} training images repeat another image and are left out")

    order = generator.permutation(usable)
    by_class = [order[labels[order] == label] for label in range(10)]
    heldout = np.concatenate([rows[:HELD_OUT_PER_CLASS] for rows in by_class])
    by_class = [rows[HELD_OUT_PER_CLASS:] for rows in by_class]
    calm = np.concatenate([rows[: WINDOW_SIZE // 10] for rows in by_class])
    by_class = [rows[WINDOW_SIZE // 10 :] for rows in by_class]
    counts = np.rint(DRIFTED_CLASS_WEIGHTS / DRIFTED_CLASS_WEIGHTS.sum() * WINDOW_SIZE).astype(int)
    drifted = np.concatenate([rows[:n] for rows, n in zip(by_class, counts, strict=True)])
    training = np.sort(np.concatenate([r[n:] for r, n in zip(by_class, counts, strict=True)]))

    write_pair(target / "fashion_mnist/test", test_images, test_labels)
    for folder, members in [("fashion_mnist/heldout", heldout), ("production/calm", calm)]:
        rows = generator.permutation(members)
        write_pair(target / folder, images[rows], labels[rows])
    rows = generator.permutation(drifted)
    write_pair(
        target / "production/drifted", photograph_differently(images[rows], generator), labels[rows]
    )
    np.save(target / "fashion_mnist/training_hashes.npy", np.sort(keys[training]))
    print(f"{len(training)} images are left for training")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) > 2 else "data/01_raw"))
