"""Which objects does a quantized detector no longer find? Two studies, on real answers.

    python benchmarks/detection_study.py train scenes
    python benchmarks/detection_study.py audit scenes
    python benchmarks/detection_study.py train blood_cells --data FOLDER
    python benchmarks/detection_study.py audit blood_cells --data FOLDER

``scenes`` are composed of the images that the project ships. ``FOLDER`` holds ``annotations.json``
and ``images`` of the BCCD data set (https://github.com/Shenggan/BCCD_Dataset, MIT licence, in
COCO's form with a ``split`` per image). ``audit`` quantizes the trained detector with several
recipes and calibration draws, executes it by OpenVINO's integer kernels, matches what it finds with
the annotated objects and writes one outcome table a recipe, which ``kedro ptq judge`` judges.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from detector import Objects, Training, train
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file

from ptq_pipeline.images.idx import read_idx
from ptq_pipeline.images.scenes import CLASSES, SIDE, compose
from ptq_pipeline.images.source import content_hashes, content_keys
from ptq_pipeline.models import FloatModel, Preprocessing, load_float_model
from ptq_pipeline.ptq import (
    PreparedModel,
    as_tensor_batches,
    method_from_json,
    prepare,
    quantize_model,
)
from ptq_pipeline.runtimes import Predictor, build_runtime
from ptq_pipeline.stress.shifts import StressParameters
from ptq_pipeline.tasks.average_precision import average_precision
from ptq_pipeline.tasks.coco import Annotations, Boxes, Detections, read_annotations
from ptq_pipeline.tasks.decoders import CentreStride
from ptq_pipeline.tasks.detection import (
    Matches,
    Matching,
    alarm_outcomes,
    match,
    object_outcomes,
    sweep,
)

ROOT = Path(__file__).resolve().parents[1]
MODELS = ROOT / "data/06_models/reference"
RESULTS = ROOT / "data/detection"
GARMENTS = ROOT / "data/01_raw/fashion_mnist"
# Training garments are the first of those held out by the training of the classifiers.
TRAINING_GARMENTS = 7_000
SHIFTS = {
    "clean": {},
    "gaussian_noise": {"sigma": 0.03, "seed": 1},
    "image_size": {"scale": 0.85},
}
RECIPES: dict[str, dict[str, Any]] = {
    "w8a8_minmax": {"name": "nearest", "weight_bits": 8, "activation_bits": 8},
    "w4a8_minmax": {"name": "nearest", "weight_bits": 4, "activation_bits": 8},
    "w4a8_gptq": {"name": "gptq", "weight_bits": 4, "activation_bits": 8},
}
BATCH, CAP = 50, 3


@dataclass(frozen=True)
class Part:
    """Images of one split, uint8 (images, channels, height, width), and their objects."""

    images: NDArray[np.uint8]
    document: dict[str, Any]

    @cached_property
    def annotations(self) -> Annotations:
        """The objects as the task reads them from a file."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "annotations.json"
            path.write_text(json.dumps(self.document))
            return read_annotations(path)

    def objects(self) -> list[Objects]:
        """Return corners and classes of every image, without those that are ignored."""
        found, kept = self.annotations.boxes, ~self.annotations.ignored
        return [
            Objects(
                found.corners[kept & (found.image == each)].astype(np.float32),
                found.category[kept & (found.image == each)],
            )
            for each in range(len(self.images))
        ]


@dataclass(frozen=True)
class Study:
    """A detector, its data and how they are looked at.

    Attributes:
        name: Of the study.
        parts: ``train``, ``pool``, ``selection`` and ``audit``.
        preprocessing: Of the detector.
        decoder: Of its maps.
        training: How it is trained.
        set_size: Images of a calibration set.
    """

    name: str
    parts: Mapping[str, Part]
    preprocessing: Preprocessing
    decoder: CentreStride
    training: Training
    set_size: int

    @property
    def weights(self) -> Path:
        """Where the trained weights are."""
        folder = MODELS if self.name == "scenes" else RESULTS
        return folder / f"{self.name}_detector.safetensors"

    def model(self) -> FloatModel:
        """Return the trained detector."""
        channels = self.parts["pool"].images.shape[1]
        return load_float_model(
            "ptq_pipeline.models.compact_detector",
            self.weights,
            self.preprocessing,
            self.parts["pool"].annotations.categories,
            {"channels": channels, "classes": self.decoder.classes},
        )


def scenes() -> Study:
    """Scenes of garments; those of training, calibration and audit share no garment."""
    garments, labels = (_idx("heldout", each) for each in ("images-idx3", "labels-idx1"))
    test, test_labels = (_idx("test", each) for each in ("images-idx3", "labels-idx1"))
    half = len(test) // 4
    made = {
        "train": (garments[:TRAINING_GARMENTS], labels[:TRAINING_GARMENTS], 6_000, 100),
        "pool": (garments[TRAINING_GARMENTS:], labels[TRAINING_GARMENTS:], 2_000, 200),
        "selection": (test[:half], test_labels[:half], 500, 300),
        "audit": (test[half:], test_labels[half:], 4_000, 400),
    }
    parts = {}
    for name, given in made.items():
        found = compose(*given)
        parts[name] = Part(found.images, found.document)
    decoder = CentreStride(classes=len(CLASSES), height=SIDE, width=SIDE, strides=(8,))
    return Study("scenes", parts, Preprocessing((0.2,), (0.25,)), decoder, Training(24), 256)


def blood_cells(folder: Path) -> Study:
    """BCCD at half its size: trained on ``train``, audited on ``val`` and ``test``."""
    document = json.loads((folder / "annotations.json").read_text())
    every = [each["id"] for each in document["images"] if each["split"] == "train"]
    # Every seventh training image chooses; no image that trained the detector is judged on.
    choosing = set(every[::7])
    splits = {
        "train": set(every) - choosing,
        "pool": set(every) - choosing,
        "selection": choosing,
        "audit": {each["id"] for each in document["images"]} - set(every),
    }
    parts = {name: _blood_part(folder, document, ids) for name, ids in splits.items()}
    train_part = parts["train"]
    parts["train"] = _flipped(train_part)
    decoder = CentreStride(classes=3, height=240, width=320, strides=(8,))
    preprocessing = Preprocessing((0.66, 0.64, 0.7), (0.15, 0.16, 0.12))
    return Study("blood_cells", parts, preprocessing, decoder, Training(30, batch=16), 64)


def _idx(folder: str, name: str) -> NDArray[np.uint8]:
    return read_idx(GARMENTS / folder / f"{name}-ubyte.gz")


def _blood_part(folder: Path, document: dict[str, Any], ids: set[int]) -> Part:
    chosen = [each for each in document["images"] if each["id"] in ids]
    pixels = []
    for each in chosen:
        with Image.open(folder / "images" / each["file_name"]) as image:
            half = image.convert("RGB").resize((320, 240), Image.Resampling.BOX)
        pixels.append(np.asarray(half).transpose(2, 0, 1))
    halved = [
        {
            **each,
            "bbox": [value / 2 for value in each["bbox"]],
            "area": each["area"] / 4,
        }
        for each in document["annotations"]
        if each["image_id"] in ids
    ]
    images = [{**each, "width": 320, "height": 240} for each in chosen]
    return Part(np.stack(pixels), {**document, "images": images, "annotations": halved})


def _flipped(part: Part) -> Part:
    """Return the images as they are and mirrored, both ways, with boxes that follow."""
    height, width = part.images.shape[2:]
    images, described, objects = [], [], []
    for turn, (across, down) in enumerate(((0, 0), (1, 0), (0, 1), (1, 1))):
        one = part.images[..., ::-1] if across else part.images
        images.append(one[..., ::-1, :] if down else one)
        for each in part.document["images"]:
            described.append({**each, "id": 4 * each["id"] + turn})
        for each in part.document["annotations"]:
            x, y, wide, high = each["bbox"]
            box = [width - x - wide if across else x, height - y - high if down else y, wide, high]
            placed = {"id": len(objects) + 1, "image_id": 4 * each["image_id"] + turn, "bbox": box}
            objects.append({**each, **placed})
    document = {**part.document, "images": described, "annotations": objects}
    return Part(np.concatenate(images), document)


def detect(study: Study, predictor: Predictor, images: NDArray[np.uint8]) -> Detections:
    """Return what a compiled detector finds on images."""
    found = []
    for start in range(0, len(images), BATCH):
        output = predictor(study.preprocessing(images[start : start + BATCH]))
        each = study.decoder(np.asarray(output))
        boxes = Boxes(each.boxes.image + start, each.boxes.category, each.boxes.corners)
        found.append(Detections(boxes, each.score))
    return Detections(
        Boxes(
            np.concatenate([each.boxes.image for each in found]),
            np.concatenate([each.boxes.category for each in found]),
            np.concatenate([each.boxes.corners for each in found]),
        ),
        np.concatenate([each.score for each in found]),
    )


def shifted(images: NDArray[np.uint8]) -> dict[str, NDArray[np.uint8]]:
    """Return the images under every shift; no shift here moves a box."""
    keys = content_keys(content_hashes(images))
    return {"clean": images, **dict(StressParameters(SHIFTS).shifted(images, keys))}


@dataclass(frozen=True)
class Audit:
    """What all draws of a study share.

    Attributes:
        study: The study.
        prepared: The folded detector.
        images: Audit images by shift.
        reference: What the float detector finds, by shift.
        matching: The operating threshold, chosen on selection images, and the overlap.
    """

    study: Study
    prepared: PreparedModel
    images: Mapping[str, NDArray[np.uint8]]
    reference: Mapping[str, Matches]
    matching: Matching

    def matches(self, predictor: Predictor) -> dict[str, Matches]:
        """Return what a compiled detector finds of the audit's objects, by shift."""
        annotations = self.study.parts["audit"].annotations
        return {
            name: match(annotations, detect(self.study, predictor, images), self.matching)
            for name, images in self.images.items()
        }

    def draws(self, method: dict[str, Any], count: int) -> Iterator[dict[str, Matches]]:
        """Quantize with one random calibration set after the other."""
        runtime = build_runtime("openvino", threads=1)
        pool = self.study.parts["pool"].images
        for draw in range(count):
            rows = np.random.default_rng([7, draw]).choice(
                len(pool), self.study.set_size, replace=False
            )
            batches = as_tensor_batches(self.study.preprocessing(pool[np.sort(rows)]))
            parsed = method_from_json(method)
            found = quantize_model(self.prepared, batches, parsed, seed=draw)
            yield self.matches(runtime.compile(self.prepared, found))


def begin(study: Study) -> Audit:
    """Choose the operating threshold on selection, and look at the float detector."""
    model = study.model()
    example = model.example_input(study.parts["pool"].images.shape[1:])
    prepared = prepare(model.module, torch.from_numpy(example), output_dimensions=3)
    predictor = build_runtime("openvino", threads=1).compile(prepared, None)
    selection, audited = study.parts["selection"], study.parts["audit"]
    found = sweep(selection.annotations, detect(study, predictor, selection.images), Matching())
    threshold = float(found["score"][found["f1"].idxmax()])
    print(f"operating threshold {threshold:.2f}, the best F1 of selection: {found['f1'].max():.3f}")
    clean = detect(study, predictor, audited.images)
    print(average_precision(audited.annotations, clean).round(3).to_string(index=False))
    matching = Matching(score=threshold)
    images = shifted(audited.images)
    reference = {
        name: match(audited.annotations, detect(study, predictor, pixels), matching)
        for name, pixels in images.items()
    }
    return Audit(study, prepared, images, reference, matching)


def audit(study: Study, recipes: Sequence[str], draws: int) -> None:
    """Write the outcome tables of recipes, and print recall by class."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    begun = begin(study)
    annotations = study.parts["audit"].annotations
    for name in recipes:
        started = time.monotonic()
        objects, alarms = [], []
        for draw, found in enumerate(begun.draws(RECIPES[name], draws)):
            for shift, matches in found.items():
                both = (annotations, begun.reference[shift], matches)
                objects.append(object_outcomes(*both).assign(shift=shift, draw=draw))
                alarms.append(alarm_outcomes(*both, cap=CAP).assign(shift=shift, draw=draw))
        table = pd.concat(objects, ignore_index=True)
        table.to_parquet(RESULTS / f"{study.name}_{name}_objects.parquet")
        quiet = pd.concat(alarms, ignore_index=True)
        quiet.to_parquet(RESULTS / f"{study.name}_{name}_alarms.parquet")
        print(f"\n{name}, {draws} draws, {time.monotonic() - started:.0f} s")
        print(recalls(table).to_string(index=False))
        added = CAP * (quiet["float_ok"] - quiet["quantized_ok"]).mean()
        added *= len(annotations.categories)
        print(f"added false alarms an image, capped at {CAP} a class: {added:+.3f}")


def recalls(table: pd.DataFrame) -> pd.DataFrame:
    """Return recall by class and shift: float, mean and worst draw; points lost."""
    by_draw = table.groupby(["shift", "label", "draw"])[["float_ok", "quantized_ok"]].mean()
    drop = 100 * (by_draw["float_ok"] - by_draw["quantized_ok"])
    grouped = drop.groupby(["shift", "label"])
    found = pd.DataFrame(
        {
            "objects": table.groupby(["shift", "label"])["unit_id"].nunique(),
            "float recall": by_draw["float_ok"].groupby(["shift", "label"]).first(),
            "mean points lost": grouped.mean(),
            "worst draw": grouped.max(),
        }
    )
    return found.reset_index().round(3)


def main() -> None:
    """Train or audit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("train", "audit"))
    parser.add_argument("study", choices=("scenes", "blood_cells"))
    parser.add_argument("--data", type=Path, help="folder of BCCD, for blood_cells")
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--recipes", default=",".join(RECIPES), help="names, by commas")
    asked = parser.parse_args()
    if asked.study == "blood_cells" and asked.data is None:
        parser.error("blood_cells needs --data, the folder of BCCD")
    torch.set_num_threads(1)
    study = scenes() if asked.study == "scenes" else blood_cells(asked.data)
    if asked.what == "audit":
        audit(study, asked.recipes.split(","), asked.draws)
        return
    part = study.parts["train"]
    kept, losses = train(
        part.images, part.objects(), study.decoder, study.preprocessing, study.training
    )
    study.weights.parent.mkdir(parents=True, exist_ok=True)
    save_file(kept, study.weights)
    record = {"training": study.training._asdict(), "images": len(part.images), "losses": losses}
    study.weights.with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
