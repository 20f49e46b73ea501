import numpy as np
import pytest
from kedro.io import DatasetError

from ptq_pipeline.calibration.sets import CalibrationManifest, CalibrationSet, array_sha256
from ptq_pipeline.datasets import CalibrationSetsDataset, ValidationCacheDataset


def make_set(draw: int) -> CalibrationSet:
    images = np.full((2, 1, 4, 4), draw, np.uint8)
    return CalibrationSet(
        CalibrationManifest(
            strategy="random",
            options={},
            seed=1,
            draw=draw,
            size=2,
            pool_size=9,
            augmentation={},
            sample_ids=(0, 1),
            content_hashes=("a", "b"),
            array_sha256=array_sha256(images),
            shape=images.shape,
        ),
        images,
    )


def test_sets_are_saved_mapped_and_replaced(tmp_path):
    dataset = CalibrationSetsDataset(str(tmp_path / "sets"))
    assert not dataset.exists()
    first, second = make_set(0), make_set(1)
    dataset.save({first.set_id: first, second.set_id: second})
    loaded = dataset.load()
    assert list(loaded) == sorted([first.set_id, second.set_id])
    assert isinstance(loaded[first.set_id].images, np.memmap)
    dataset.save({second.set_id: loaded[second.set_id]})
    assert list(dataset.load()) == [second.set_id]
    assert len(list((tmp_path / "sets").iterdir())) == 2


def test_damaged_set_is_an_error_that_names_the_file(tmp_path):
    dataset = CalibrationSetsDataset(str(tmp_path))
    first = make_set(0)
    dataset.save({first.set_id: first})
    (tmp_path / f"{first.set_id}.npy").write_bytes(b"")
    with pytest.raises(DatasetError, match=f"{first.set_id}.npy"):
        dataset.load()


def test_cache_is_an_input_that_nodes_add_to(tmp_path):
    dataset = ValidationCacheDataset(str(tmp_path / "deep/cache.json"), str(tmp_path / "docs"))
    assert dataset.exists()
    dataset.load().update({"key": [{"success": True}]})
    again = dataset.load()
    assert again.get("key") == [{"success": True}]
    assert again.docs_directory == tmp_path / "docs"
    with pytest.raises(DatasetError, match="cannot be saved"):
        dataset.save(again)
