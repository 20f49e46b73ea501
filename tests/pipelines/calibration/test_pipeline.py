from dataclasses import dataclass
from pathlib import Path
from typing import get_type_hints

import numpy as np
import pandas as pd
import pytest
import torch
from kedro.io import DataCatalog, MemoryDataset
from kedro.runner import SequentialRunner
from kedro_datasets.pandas import ParquetDataset

from ptq_pipeline.calibration.parameters import CalibrationParameters
from ptq_pipeline.core.group_ids import GroupDefinitions
from ptq_pipeline.datasets import CalibrationSetsDataset, DocumentDataset, ValidationCacheDataset
from ptq_pipeline.images.idx import read_idx
from ptq_pipeline.images.source import content_hashes
from ptq_pipeline.models import FloatModel, Preprocessing, resnet20, run_in_batches
from ptq_pipeline.pipelines.calibration import create_pipeline
from ptq_pipeline.profiling.features import fit_projection, image_features, model_features
from ptq_pipeline.profiling.segments import SegmentRule, cut_segment, define_segment

TABLES = ("calibration_thresholds", "calibration_set_index", "calibration_validation")
SPLITS = {"pool": 400, "reference": 250, "selection": 25, "audit": 25}


@dataclass
class Stage:
    """The stage's inputs, and a way to run it."""

    inputs: dict
    folder: Path

    def run(self, folder: str = "a", **changes) -> dict:
        settings = {
            "seed": 3,
            "set_size": 32,
            "draws": 4,
            "comparison_strategies": ["class_balanced", "noisy"],
            "comparison_draws": 2,
            "validation": {
                "features": ["noise", "confidence"],
                "simulated_draws": 1000,
            },
            **changes,
        }
        catalog = DataCatalog(
            {
                **{name: MemoryDataset(value) for name, value in self.inputs.items()},
                "params:calibration": MemoryDataset(CalibrationParameters(**settings)),
                "calibration_sets": CalibrationSetsDataset(str(self.folder / folder / "sets")),
                "calibration_validation_cache": ValidationCacheDataset(
                    str(self.folder / folder / "cache.json"), str(self.folder / folder / "docs")
                ),
                "calibration_thresholds": DocumentDataset(
                    filepath=str(self.folder / folder / "calibration_thresholds.json"),
                    document="ptq_pipeline.calibration.thresholds.Thresholds",
                ),
                **{
                    name: ParquetDataset(filepath=str(self.folder / folder / f"{name}.parquet"))
                    for name in TABLES[1:]
                },
            }
        )
        SequentialRunner().run(create_pipeline(), catalog)
        return {name: catalog.load(name) for name in (*TABLES, "calibration_sets")}


@pytest.fixture(scope="module")
def inputs(raw_data) -> dict:
    images = read_idx(raw_data / "fashion_mnist/heldout/images-idx3-ubyte.gz")[:700, None]
    labels = read_idx(raw_data / "fashion_mnist/heldout/labels-idx1-ubyte.gz")[:700]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = resnet20().eval()
    classes = tuple("abcdefghij")
    model = FloatModel(module, Preprocessing((0.286,), (0.353,)), classes, "fingerprint")
    logits, penultimate = run_in_batches(model, images)
    projection = fit_projection(penultimate)
    profiles = pd.DataFrame(
        {
            "sample_id": np.arange(700),
            "split": np.repeat(list(SPLITS), list(SPLITS.values())),
            "label": labels.astype(np.int64),
        }
    )
    samples = profiles.assign(content_hash=content_hashes(images))
    features = [image_features(images), model_features(logits, penultimate, projection)]
    profiles = pd.concat([profiles, *features], axis=1)
    rule = SegmentRule("foreground_share", (0.5,), ("small", "large"))
    cut = define_segment(rule, "size", profiles["foreground_share"])
    size = cut_segment(cut, profiles["foreground_share"])
    return {
        "samples": samples.assign(size=size),
        "images": images,
        "profiles": profiles.assign(size=size),
        "group_definitions": GroupDefinitions(classes=classes, segments={"size": cut}),
        "float_model": model,
        "feature_projection": projection.to_json(),
    }


@pytest.fixture
def stage(inputs, tmp_path) -> Stage:
    return Stage(inputs, tmp_path)


def test_pipeline_draws_validates_and_saves(stage):
    result = stage.run()
    index, sets = result["calibration_set_index"], result["calibration_sets"]
    evidence = index[(index["role"] == "evidence") & index["valid"]]
    assert len(evidence) == 4
    assert (index["strategy"] == "noisy").sum() == 2
    assert set(sets) == set(index["set_id"]) == set(result["calibration_validation"]["set_id"])
    for set_id, calibration_set in sets.items():
        calibration_set.verify()
        assert calibration_set.set_id == set_id
        assert calibration_set.images.shape == (32, 1, 28, 28)
        assert set(calibration_set.manifest.sample_ids) <= set(range(400))
    assert (stage.folder / "a/docs/index.html").is_file()


def test_noisy_sets_are_judged_by_their_noisy_pixels(stage):
    validation = stage.run(options={"noisy": {"sigma": 0.3}})["calibration_validation"]
    noisy = validation[validation["strategy"] == "noisy"].groupby("expectation")["success"]
    assert not noisy.any()["noise_distance"]
    # Noise lifts background pixels above the foreground level: the segment is cut again as well.
    assert not noisy.any()["size_shares"]
    assert noisy.all()["class_shares"]


def test_second_run_is_identical_and_validates_nothing(stage, monkeypatch):
    first = stage.run()
    built = (stage.folder / "a/docs/index.html").stat().st_mtime_ns

    def refuse(*arguments: object) -> None:
        raise AssertionError("Great Expectations ran although every set was known")

    monkeypatch.setattr("ptq_pipeline.calibration.gx.Suite.__init__", refuse)
    second = stage.run()
    assert second["calibration_thresholds"] == first["calibration_thresholds"]
    for name in TABLES[1:]:
        pd.testing.assert_frame_equal(second[name], first[name])
    assert list(second["calibration_sets"]) == list(first["calibration_sets"])
    assert (stage.folder / "a/docs/index.html").stat().st_mtime_ns == built


def test_empty_cache_gives_the_same_bytes(stage):
    stage.run("a")
    stage.run("b", data_docs=False)
    assert not (stage.folder / "b/docs").exists()
    names = sorted(path.name for path in (stage.folder / "a/sets").iterdir())
    assert names == sorted(path.name for path in (stage.folder / "b/sets").iterdir())
    names = [f"sets/{name}" for name in names] + [f"{name}.parquet" for name in TABLES[1:]]
    for name in [*names, "calibration_thresholds.json"]:
        one, other = (stage.folder / run / name for run in ("a", "b"))
        assert one.read_bytes() == other.read_bytes(), name


def test_failed_run_leaves_the_earlier_sets(stage):
    first = stage.run()
    with pytest.raises(Exception, match="pool of 400"):
        stage.run(set_size=401, comparison_strategies=[])
    again = CalibrationSetsDataset(str(stage.folder / "a/sets")).load()
    assert list(again) == list(first["calibration_sets"])


def test_kedro_can_resolve_the_annotations_that_validate_parameters():
    for node in create_pipeline().nodes[1:]:
        assert get_type_hints(node.func)["parameters"] is CalibrationParameters


def test_inputs_and_outputs():
    pipeline = create_pipeline()
    assert pipeline.inputs() == {
        "samples",
        "images",
        "profiles",
        "group_definitions",
        "float_model",
        "feature_projection",
        "calibration_validation_cache",
        "params:calibration",
    }
    assert pipeline.outputs() == {
        "calibration_sets",
        "calibration_set_index",
        "calibration_validation",
    }
