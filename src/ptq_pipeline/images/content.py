"""The identity of an image is the hash of its pixels."""

import hashlib
from collections.abc import Iterable

import numpy as np


def content_hashes(images: Iterable[np.ndarray]) -> list[str]:
    """Return the SHA-256 (hex) of each image's uint8 pixels in C order."""
    return [hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest() for image in images]


def content_keys(hashes: Iterable[str]) -> np.ndarray:
    """Return the first 8 bytes of hexadecimal hashes as a uint64 array (big endian)."""
    return np.array([int(value[:16], 16) for value in hashes], np.uint64)
