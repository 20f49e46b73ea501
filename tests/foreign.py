"""Five data sets of the kinds that people bring, made from numbers, and a network that reads them.

An image's class is its colour, so a network without training answers well: pixels pass through a
convolution, their means are compared with the colour of each class.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from safetensors.torch import save_file

NETWORK = '''
from torch import Tensor, nn


class Colours(nn.Module):
    """Compares an image's mean colour with that of each class."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.pixels = nn.Conv2d(channels, channels, 1)
        self.colours = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.colours(self.pixels(x).mean((2, 3)))
'''


@dataclass(frozen=True)
class Foreign:
    """A data set: its classes as colours, its rows, and what the image source has to be told."""

    colours: np.ndarray
    rows: pd.DataFrame
    size: tuple[int, int] = (32, 32)
    source: dict[str, Any] = field(default_factory=dict)


def spread(classes: int, channels: int = 3) -> np.ndarray:
    """Return colours ``(classes, channels)`` in [0.15, 0.85], as far apart as a grid lets them."""
    side = int(np.ceil(classes ** (1 / channels)))
    axes = np.meshgrid(*[np.linspace(0.15, 0.85, side)] * channels, indexing="ij")
    return np.stack([each.ravel() for each in axes], 1)[:classes]


def _rows(labels: np.ndarray, **columns: Any) -> pd.DataFrame:
    return pd.DataFrame({"number": np.arange(len(labels)), "label": labels, **columns})


def clusters() -> Foreign:
    """Bursts of eight images; the site is the same within a burst."""
    burst = np.repeat(np.arange(120), 8)
    site = np.where(np.random.default_rng(0).random(120) < 0.4, "north", "south")[burst]
    return Foreign(spread(4), _rows(np.arange(960) % 4, cluster=burst, site=site))


def rare() -> Foreign:
    """Three images in a hundred are of the last class."""
    labels = np.where(np.arange(1000) % 100 < 3, 2, np.arange(1000) % 2)
    return Foreign(spread(3), _rows(labels))


def deep() -> Foreign:
    """Grey images of 12 bits in files of 16."""
    return Foreign(spread(4, channels=1), _rows(np.arange(800) % 4), source={"white": 4095})


def oblong() -> Foreign:
    """48 pixels high and 64 wide."""
    return Foreign(spread(4), _rows(np.arange(800) % 4), size=(48, 64))


def thousand() -> Foreign:
    """A thousand classes with an image each, and what kind of thing they are."""
    kind = np.array(["animal", "plant", "tool", "place"])[np.arange(1000) % 4]
    return Foreign(spread(1000), _rows(np.arange(1000), kind=kind))


SETS = {each.__name__: each for each in (clusters, rare, deep, oblong, thousand)}


def write(made: Foreign, folder: Path) -> dict[str, Any]:
    """Write images, manifest, network and weights; return the entries of the catalog by name."""
    (folder / "src").mkdir(parents=True, exist_ok=True)
    (folder / "src/colours.py").write_text(NETWORK)
    shop = folder / "data/01_raw/shop"
    shop.mkdir(parents=True, exist_ok=True)
    rng, channels = np.random.default_rng(1), made.colours.shape[1]
    for number, label in zip(made.rows["number"], made.rows["label"], strict=True):
        noise = rng.normal(0, 0.08, (*made.size, channels))
        values = np.clip(made.colours[label] + noise, 0, 1)
        if channels == 1:
            picture = Image.fromarray(np.rint(values[..., 0] * 4095).astype(np.uint16))
        else:
            picture = Image.fromarray(np.rint(values * 255).astype(np.uint8))
        picture.save(shop / f"{number}.png")
    classes = [f"class {each:04}" for each in range(len(made.colours))]
    table = made.rows.assign(
        path=[f"{number}.png" for number in made.rows["number"]],
        label=[classes[label] for label in made.rows["label"]],
    )
    table.drop(columns="number").to_csv(shop / "images.csv", index=False)
    # The nearest colour c of a mean m has the largest 2 c m - c c.
    colours = torch.from_numpy(made.colours).float()
    weights = {
        "pixels.weight": torch.eye(channels)[:, :, None, None],
        "pixels.bias": torch.zeros(channels),
        "colours.weight": 20 * 2 * colours,
        "colours.bias": -20 * (colours**2).sum(1),
    }
    save_file({name: each.contiguous() for name, each in weights.items()}, shop / "w.safetensors")
    return {
        "image_source": {
            "type": "ptq_pipeline.datasets.ImageManifestDataset",
            "filepath": "data/01_raw/shop/images.csv",
            "shape": [channels, *made.size],
            "splits": {"pool": 3, "reference": 2, "selection": 2, "audit": 3},
            **made.source,
        },
        "float_model": {
            "type": "ptq_pipeline.datasets.FloatModelDataset",
            "factory": "colours.Colours",
            "arguments": {"channels": channels, "classes": len(classes)},
            "weights": "data/01_raw/shop/w.safetensors",
            "preprocessing": {"mean": [0.0] * channels, "std": [1.0] * channels},
            "classes": classes,
        },
    }
