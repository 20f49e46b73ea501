"""Draw every corruption at every severity: ``python benchmarks/shift_contact_sheet.py [folder]``.

Writes one PNG for 28 x 28 grey images of the default data and one for 224 x 224 colour images that
are composed of them, so that strengths can be judged by eye.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from ptq_pipeline.images.idx import read_idx
from ptq_pipeline.images.source import content_hashes, content_keys
from ptq_pipeline.stress import SHIFTS, apply_shift, build_shift

SOURCE = Path("data/01_raw/fashion_mnist/test/images-idx3-ubyte.gz")
TINTS = np.array([[1.0, 0.8, 0.6], [0.5, 0.9, 1.0], [0.9, 0.6, 1.0]])


def colour(images: np.ndarray) -> np.ndarray:
    """Return 224 x 224 colour images: eight by eight garments, tinted, on a bright ground."""
    tiles = images[:64, 0].reshape(8, 8, 28, 28).transpose(0, 2, 1, 3).reshape(224, 224)
    ground = np.linspace(40, 220, 224)[None, :]
    grey = np.where(tiles > 12, tiles, ground)
    return np.stack([grey * tint[:, None, None] for tint in TINTS]).astype(np.uint8)


def sheet(images: np.ndarray, shown: int, enlarge: int) -> Image.Image:
    """Return one row per kind; its columns are the severities 1 to 5 of the first images."""
    keys = content_keys(content_hashes(images))
    rows = []
    for kind in [name for name in SHIFTS if name != "clean"]:
        cells = [images[:shown]]
        for severity in range(1, 6):
            shift = build_shift(kind, {"severity": severity})
            cells.append(apply_shift(kind, shift, images, keys)[:shown])
        rows.append(np.concatenate([np.concatenate(list(cell), -1) for cell in cells], -1))
    pixels = np.concatenate(rows, 1).transpose(1, 2, 0).repeat(enlarge, 0).repeat(enlarge, 1)
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def main(folder: Path) -> None:
    """Write both sheets."""
    images = read_idx(SOURCE)[:64, None]
    folder.mkdir(parents=True, exist_ok=True)
    sheet(images[:8], 3, 2).save(folder / "shifts_28_grey.png")
    large = sheet(colour(images), 1, 1).reduce(2)
    # A palette: noise in full colour would take megabytes.
    large.quantize(64).save(folder / "shifts_224_colour.png", optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("docs/figures"))
