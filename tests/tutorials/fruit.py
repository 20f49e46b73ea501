"""What the reader of a tutorial brings: images of fruit, who sent them, and a trained network."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

CLASSES = ("apple", "lemon", "lime", "orange", "plum")
COLOURS = np.array(
    [[0.8, 0.2, 0.2], [0.9, 0.85, 0.3], [0.5, 0.75, 0.25], [0.9, 0.55, 0.15], [0.45, 0.2, 0.5]]
)


def draw(rng, label, side=32):
    """One fruit of its class's colour, more or less, on grey: uint8 ``(3, side, side)``."""
    y, x = np.mgrid[:side, :side] - side / 2 - rng.uniform(-4, 4, (2, 1, 1))
    inside = np.hypot(x, y) < rng.uniform(7, 12)
    colour = COLOURS[label] + rng.normal(0, 0.05, 3)
    image = np.where(inside, colour[:, None, None], rng.uniform(0.3, 0.7))
    image = image * rng.uniform(0.7, 1.1) + rng.normal(0, 0.04, (3, side, side))
    return (image.clip(0, 1) * 255).astype(np.uint8)


def images(rng, count):
    """Return ``count`` images, class after class, and their labels."""
    labels = np.arange(count) % len(CLASSES)
    return np.stack([draw(rng, label) for label in labels]), labels


def fit(network, body, last, count=1500, seed=0):
    """Fit the last layer of a network of random convolutions by ridge regression.

    Its batch norms take their statistics from the images, so it is a real classifier, in seconds.
    """
    pixels, labels = images(np.random.default_rng(seed), count)
    inputs = torch.from_numpy((pixels / 255 - 0.5) / 0.25).float()
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = None
    with torch.no_grad():
        network.train()
        for batch in inputs[:500].split(100):
            network(batch)
        network.eval()
        features = torch.cat([body(batch).flatten(1) for batch in inputs.split(50)])
        mean, targets = features.mean(0), torch.eye(len(CLASSES))[labels] - 1 / len(CLASSES)
        centred = features - mean
        ridge = count * centred.var() * torch.eye(features.shape[1])
        weight = 10 * torch.linalg.solve(centred.T @ centred + ridge, centred.T @ targets)
        last.weight.copy_(weight.T)
        last.bias.copy_(-mean @ weight)
    return network


def bring_images(root: Path, count: int, seed: int = 1) -> None:
    """Write class folders of images, and a CSV of who sent them and how far they travelled."""
    rng = np.random.default_rng(seed)
    rows = []
    for number, (image, label) in enumerate(zip(*images(rng, count), strict=True)):
        path = root / "images" / CLASSES[label] / f"{number:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.transpose(1, 2, 0)).save(path)
        rows.append(
            {
                "path": path.relative_to(root / "images").as_posix(),
                "customer": rng.choice(["Bakery", "Market", "Hotel"]),
                "days_on_the_road": int(rng.integers(1, 30)) if rng.random() > 0.2 else None,
            }
        )
    pd.DataFrame(rows).to_csv(root / "customers.csv", index=False)


def bring_resnet18(path: Path) -> None:
    """Write the weights of a torchvision ResNet-18 that knows the fruit."""
    from torchvision.models import resnet18

    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = resnet18(num_classes=len(CLASSES))
    body = torch.nn.Sequential(*list(network.children())[:-1])
    torch.save(fit(network, body, network.fc).state_dict(), path)


def bring_packed(root: Path, count: int, make_network, seed: int = 1) -> None:
    """Write one array of images, a table beside it, and weights of a network that knows them."""
    from safetensors.torch import save_file

    rng = np.random.default_rng(seed)
    pixels, labels = images(rng, count)
    root.mkdir(parents=True, exist_ok=True)
    np.save(root / "images.npy", pixels)
    rows = {"label": np.asarray(CLASSES)[labels], "site": rng.choice(["hill", "valley"], count)}
    pd.DataFrame(rows).to_csv(root / "rows.csv", index=False)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = make_network(len(CLASSES))
    save_file(fit(network, network[:-1], network[-1]).state_dict(), root / "sorting.safetensors")
