"""The life of a model: calm, drift, re-audit, requantization, rollback.

Usage: ``python scripts/drift_story.py FOLDER``. It builds a small Kedro project in FOLDER (which
must not exist) from the embedded data, and plays the story of docs/watch.md with the commands that
anyone would use. The shop photographed under dim light when its model was quantized; then it gets
brighter lamps. ``benchmarks/drift_story_search.py`` found that pair.
"""

import argparse
import gzip
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

CHECKOUT = Path(__file__).resolve().parents[1]
HOME_GAIN, NEW_GAIN = 0.5, 1.0
FILES = ("images-idx3-ubyte.gz", "labels-idx1-ubyte.gz")
CLEAN_ONLY = {
    "average": {"points": 3.0},
    "class": {"points": 12.0},
    "segment": {"points": 6.0},
    "intersection": {"points": 30.0, "min_size": 100_000},
}
# Under brighter lamps hardly a dark picture is left, so nothing can be shown of them there. That a
# requantized model may ship all the same is a decision of this shop's policy.
VANISHING = [{"level": "segment", "group": f"tone={tone}"} for tone in ("dark", "mid")]


@dataclass(frozen=True)
class Sizes:
    """How many images stand where."""

    pool: int = 1_200
    reference: int = 800
    selection: int = 500
    audit: int = 2_500
    calm: int = 600
    drifted: int = 2_400


def read(path: Path) -> np.ndarray:
    """Return the array of a gzipped idx file."""
    content = gzip.decompress(path.read_bytes())
    shape = np.frombuffer(content[4 : 4 + 4 * content[3]], ">u4")
    return np.frombuffer(content, np.uint8, offset=4 + 4 * content[3]).reshape(shape)


def write(path: Path, array: np.ndarray) -> None:
    """Write a gzipped idx file without a time stamp."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    path.write_bytes(gzip.compress(header + np.ascontiguousarray(array).tobytes(), mtime=0))


def photograph(images: np.ndarray, gain: float) -> np.ndarray:
    """Return the images at another exposure."""
    return np.rint(np.clip(images.astype(np.float32) * gain, 0, 255)).astype(np.uint8)


class Story:
    """A project in which the story is played.

    Args:
        root: its folder.
        sizes: how many images.
    """

    def __init__(self, root: Path, sizes: Sizes | None = None) -> None:
        self.root = root
        self.sizes = sizes or Sizes()

    def build(self) -> None:
        """Write configuration, model and images; windows arrive later."""
        root = self.root
        (root / "src").mkdir(parents=True)
        shutil.copytree(CHECKOUT / "conf/base", root / "conf/base")
        shutil.copy(CHECKOUT / "conf/logging.yml", root / "conf")
        (root / "conf/local").mkdir()
        (root / "pyproject.toml").write_text(
            '[tool.kedro]\npackage_name = "ptq_pipeline"\nproject_name = "story"\n'
            'kedro_init_version = "1.7.0"\nsource_dir = "src"\n'
        )
        (root / ".telemetry").write_text("consent: false\n")
        models = root / "data/06_models/reference"
        shutil.copytree(CHECKOUT / "data/06_models/reference", models)
        raw = root / "data/01_raw"
        (raw / "production").mkdir(parents=True)
        source = CHECKOUT / "data/01_raw/fashion_mnist"
        sizes = self.sizes
        self._copy(source / "test", "fashion_mnist/test", sizes.selection + sizes.audit, HOME_GAIN)
        self._copy(
            source / "heldout", "fashion_mnist/heldout", sizes.pool + sizes.reference, HOME_GAIN
        )
        self._configure()

    def _copy(self, source: Path, target: str, rows: int, gain: float, start: int = 0) -> None:
        images, labels = (read(source / name)[start : start + rows] for name in FILES)
        folder = self.root / "data/01_raw" / target
        write(folder / FILES[0], photograph(images, gain))
        write(folder / FILES[1], labels)

    def _configure(self) -> None:
        sizes = self.sizes
        self.change(
            "catalog",
            image_source={
                "type": "ptq_pipeline.datasets.IdxImageDataset",
                "parts": [
                    self._part("test", selection=sizes.selection, audit=sizes.audit),
                    self._part("heldout", pool=sizes.pool, reference=sizes.reference),
                ],
            },
        )
        catalog = self._read("catalog")
        del catalog["float_model"]["training_hashes"]
        self._write("catalog", catalog)
        self._write("parameters_stress", {"stress": {"clean": {}}})
        bits = {"weight_bits": 8, "activation_bits": 8}
        quantization = {"method": bits, "parity_draws": 0, "runtime": {"threads": 1}}
        self.change("parameters_quantization", quantization=quantization)
        self.change(
            "parameters_calibration",
            calibration={
                "set_size": 64,
                "draws": 30,
                "comparison_strategies": [],
                "data_docs": False,
            },
        )
        check = self._read("parameters_worst_case_check")
        check["worst_case_check"].update(draws=30, limits=CLEAN_ONLY, allow_not_judged=VANISHING)
        self._write("parameters_worst_case_check", check)
        self.change("parameters_drift", drift={"windows": [], "resamples": 300})
        trigger = {"windows": 2, "drifted": 1, "minimum_samples": 300, "cooldown_hours": 0}
        self.change("parameters_monitoring", monitoring={"trigger": trigger})
        self.change("parameters_ladder", ladder={"recipes": [{"name": "as it is"}]})

    @staticmethod
    def _part(folder: str, **splits: int) -> dict:
        place = f"data/01_raw/fashion_mnist/{folder}"
        return {
            "images": f"{place}/{FILES[0]}",
            "labels": f"{place}/{FILES[1]}",
            "splits": splits,
        }

    def _read(self, name: str) -> dict:
        return yaml.safe_load((self.root / f"conf/base/{name}.yml").read_text())

    def _write(self, name: str, content: dict) -> None:
        (self.root / f"conf/base/{name}.yml").write_text(yaml.safe_dump(content))

    def change(self, name: str, **groups: dict) -> None:
        """Change some keys of a configuration file, two levels deep."""
        content = self._read(name)
        for group, values in groups.items():
            for key, value in values.items():
                if isinstance(value, dict) and isinstance(content[group].get(key), dict):
                    content[group][key].update(value)
                else:
                    content[group][key] = value
        self._write(name, content)

    def deliver(self, window: str, gain: float, start: int, rows: int, labels: bool = True) -> None:
        """Let a production window arrive."""
        self._copy(
            CHECKOUT / "data/01_raw/fashion_mnist/heldout",
            f"production/{window}",
            *(rows, gain, start),
        )
        if not labels:
            (self.root / "data/01_raw/production" / window / FILES[1]).unlink()

    def deliver_calm(self, window: str, number: int = 0) -> None:
        """Let a window arrive that looks like home."""
        start = 2_500 + number * self.sizes.calm
        self.deliver(window, HOME_GAIN, start, self.sizes.calm)

    def deliver_drifted(self, window: str, number: int = 0, labels: bool = True) -> None:
        """Let a window arrive that was taken under the new lamps."""
        start = 4_000 + number * self.sizes.drifted
        self.deliver(window, NEW_GAIN, start, self.sizes.drifted, labels)

    def call(self, *arguments: str) -> tuple[int, str]:
        """Run ``kedro`` and return exit code and standard output; errors go to standard error."""
        done = subprocess.run(
            [sys.executable, "-m", "kedro", *arguments],
            cwd=self.root,
            env={**os.environ, "DO_NOT_TRACK": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        (self.root / "last_errors.log").write_text(done.stderr)
        return done.returncode, done.stdout

    def report(self, *arguments: str) -> tuple[int, dict]:
        """Run a ``kedro ptq`` command with ``--json``."""
        code, output = self.call("ptq", *arguments, "--json")
        return code, json.loads(output or "{}")


def main() -> None:
    """Play the story and print every command with what it said."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    story = Story(parser.parse_args().folder)
    story.build()

    def show(*arguments: str) -> None:
        print(f"$ kedro {' '.join(arguments)}")
        code, output = story.call(*arguments)
        print("\n".join(output.splitlines()[-6:] if arguments[0] == "run" else [output]))
        print(f"(exit code {code})\n")

    show("run", "--pipelines", "__default__")
    show("ptq", "promote", "--by", "Jo")
    story.deliver_calm("2027-01-01")
    show("ptq", "watch", "--once")
    story.deliver_drifted("2027-01-02")
    show("ptq", "watch", "--once", "--dry-run")
    show("ptq", "watch", "--once")
    show("ptq", "verify")
    show("ptq", "rollback", "--reason", "to see that it works")
    show("ptq", "verify")
    show("ptq", "history")


if __name__ == "__main__":
    main()
