"""What an audit of a thousand classes of one image each holds at most, images of 224 pixels.

Usage: ``python benchmarks/thousand_classes.py [--draws 2] [--side 224]``. Images are made of
numbers, one colour a class; the network is torchvision's MobileNetV2, whose batch norms and last
layer are fitted to them. The audit is the command that people call, in a process of its own.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision.models import mobilenet_v2

CLASSES = 1000
FACTORY = "torchvision.models.mobilenet_v2"


def pictures(side: int) -> np.ndarray:
    """Return an image of each class, uint8 ``(N, side, side, 3)``: its colour and soft clouds."""
    steps = np.linspace(30, 225, 10)
    colours = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(-1, 1, 1, 3)
    clouds = np.random.default_rng(0).normal(0, 12, (CLASSES, 14, 14, 3))
    clouds = clouds.repeat(side // 14, 1).repeat(side // 14, 2)
    return np.clip(colours + clouds, 0, 255).astype(np.uint8)


def fitted(images: np.ndarray) -> torch.nn.Module:
    """Return a network that knows the images: each class's logit is largest at its own."""
    torch.manual_seed(0)
    network = mobilenet_v2(num_classes=CLASSES)
    values = torch.from_numpy(images).permute(0, 3, 1, 2)
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            # Of this one batch.
            layer.momentum = 1.0
    with torch.inference_mode():
        network.train()
        network(values[::32].float() / 127.5 - 1)
        network.eval()
        features = torch.cat(
            [network.features(batch.float() / 127.5 - 1).mean((2, 3)) for batch in values.split(20)]
        )
        centred = features - features.mean(0)
        spread = centred / centred.std(0).clamp_min(1e-3) ** 2
        # The nearest mean, in units of each feature's spread.
        network.classifier[1].weight.copy_(spread)
        network.classifier[1].bias.copy_(-(spread * (features + features.mean(0))).sum(1) / 2)
    return network


def main() -> None:
    """Make the images, audit, and print what the process held."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=2)
    parser.add_argument("--side", type=int, default=224)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = pictures(asked.side)
        for number, image in enumerate(images):
            path = folder / f"photos/class {number:04}/0.png"
            path.parent.mkdir(parents=True)
            Image.fromarray(image).save(path)
        torch.save(fitted(images).state_dict(), folder / "weights.pt")
        command = [
            *(sys.executable, "-m", "kedro", "ptq", "audit", "--images", "photos"),
            *("--weights", "weights.pt", "--factory", FACTORY),
            *("--argument", f"num_classes={CLASSES}", "--size", str(asked.side)),
            *("--mean", "0.5,0.5,0.5", "--std", "0.5,0.5,0.5"),
            *("--draws", str(asked.draws)),
        ]
        started = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder)
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        if os.waitstatus_to_exitcode(status) not in (0, 3, 4):
            raise SystemExit("the audit ended with an error")
        verdict = json.loads(next(folder.rglob("verdict.json")).read_text())["result"]
        pages = [path.stat().st_size for path in folder.rglob("report.html")]
    sys.stdout.write(
        f"{CLASSES} images of {asked.side} pixels, {asked.draws} draws, {os.cpu_count()} cores "
        f"{platform.machine()}, torch {version('torch')}, OpenVINO {version('openvino')}: exit "
        f"code {os.waitstatus_to_exitcode(status)}, {verdict}, report of {pages[0] / 1e6:.1f} MB, "
        f"{seconds:.0f} s, {used.ru_utime + used.ru_stime:.0f} processor seconds, at most "
        f"{used.ru_maxrss / 1e6:.2f} GB\n"
    )


if __name__ == "__main__":
    main()
