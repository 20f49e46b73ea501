import json
import os

import numpy as np
import pytest

from ptq_pipeline.calibration.sets import (
    CalibrationManifest,
    CalibrationSet,
    DeferredImages,
    array_sha256,
    load_set,
    load_sets,
    save_set,
    save_sets,
)
from ptq_pipeline.core.errors import InputError


def make_set(draw: int = 0, size: int = 4) -> CalibrationSet:
    images = np.random.default_rng(draw).integers(0, 256, (size, 1, 5, 5), np.uint8)
    manifest = CalibrationManifest(
        strategy="random",
        options={"strength": 0.5},
        seed=7,
        draw=draw,
        size=size,
        pool_size=100,
        augmentation={},
        sample_ids=tuple(range(size)),
        content_hashes=tuple(f"{row:064x}" for row in range(size)),
        array_sha256=array_sha256(images),
        shape=images.shape,
    )
    return CalibrationSet(manifest, images)


def test_manifest_survives_json():
    manifest = make_set().manifest
    again = CalibrationManifest.read(json.loads(json.dumps(manifest.to_json())))
    assert again == manifest
    assert again.set_id == manifest.set_id
    assert len(manifest.set_id) == 16


def test_set_id_changes_with_every_field():
    manifest = make_set().manifest
    ids = {manifest.set_id}
    changes = {
        "strategy": "noisy",
        "options": {},
        "seed": 8,
        "draw": 1,
        "size": 5,
        "pool_size": 101,
        "augmentation": {"kind": "gaussian_noise"},
        "sample_ids": [9, 1, 2, 3],
        "content_hashes": ["f" * 64] * 4,
        "array_sha256": "0" * 64,
        "shape": [4, 1, 5, 6],
    }
    for name, value in changes.items():
        ids.add(CalibrationManifest.read({**manifest.to_json(), name: value}).set_id)
    assert len(ids) == 1 + len(changes)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"schema_version": 9}, "schema_version: Input should be 1"), ({"colour": 1}, "colour")],
)
def test_foreign_manifest_is_refused(change, message):
    with pytest.raises(InputError, match=message):
        CalibrationManifest.read({**make_set().manifest.to_json(), **change})


def test_missing_key_is_named():
    content = make_set().manifest.to_json()
    del content["pool_size"]
    with pytest.raises(InputError, match="pool_size"):
        CalibrationManifest.read(content)


def test_save_and_load_give_the_same_set_and_two_files(tmp_path):
    saved = make_set()
    save_set(saved, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"{saved.set_id}.json",
        f"{saved.set_id}.npy",
    ]
    loaded = load_set(tmp_path, saved.set_id)
    assert loaded.manifest == saved.manifest
    assert isinstance(loaded.images, np.memmap)
    np.testing.assert_array_equal(loaded.images, saved.images)
    loaded.verify()


def test_saving_twice_gives_identical_bytes(tmp_path):
    saved = make_set()
    for name in ("a", "b"):
        save_set(saved, tmp_path / name)
    for suffix in ("npy", "json"):
        first, second = (tmp_path / name / f"{saved.set_id}.{suffix}" for name in ("a", "b"))
        assert first.read_bytes() == second.read_bytes()


def test_truncated_array_is_named(tmp_path):
    saved = make_set()
    save_set(saved, tmp_path)
    path = tmp_path / f"{saved.set_id}.npy"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(InputError, match=f"{saved.set_id}.npy"):
        load_set(tmp_path, saved.set_id)


def test_array_of_another_shape_is_refused(tmp_path):
    saved = make_set()
    save_set(saved, tmp_path)
    np.save(tmp_path / f"{saved.set_id}.npy", np.zeros((3, 1, 5, 5), np.uint8))
    with pytest.raises(InputError, match="its manifest says"):
        load_set(tmp_path, saved.set_id)


def test_changed_pixels_are_found_by_verify(tmp_path):
    saved = make_set()
    save_set(saved, tmp_path)
    np.save(tmp_path / f"{saved.set_id}.npy", np.zeros((4, 1, 5, 5), np.uint8))
    with pytest.raises(InputError, match="not those of its manifest"):
        load_set(tmp_path, saved.set_id).verify()


def test_edited_manifest_is_refused(tmp_path):
    saved = make_set()
    save_set(saved, tmp_path)
    path = tmp_path / f"{saved.set_id}.json"
    path.write_text(path.read_text().replace('"draw": 0', '"draw": 3'))
    with pytest.raises(InputError, match="was changed"):
        load_set(tmp_path, saved.set_id)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema_version": 1'])
def test_damaged_manifest_is_named(tmp_path, text):
    saved = make_set()
    save_set(saved, tmp_path)
    (tmp_path / f"{saved.set_id}.json").write_text(text)
    with pytest.raises(InputError, match=f"{saved.set_id}.json"):
        load_set(tmp_path, saved.set_id)


def test_array_without_manifest_is_refused(tmp_path):
    saved = make_set()
    save_set(saved, tmp_path)
    (tmp_path / f"{saved.set_id}.json").unlink()
    with pytest.raises(InputError, match="missing or damaged"):
        load_sets(tmp_path)


def test_missing_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="are missing"):
        load_sets(tmp_path / "nowhere")


def test_saving_sets_removes_stale_ones_and_keeps_mapped_ones_readable(tmp_path):
    directory = tmp_path / "sets"
    first, second = make_set(0), make_set(1)
    save_sets({first.set_id: first, second.set_id: second}, directory)
    mapped = load_sets(directory)
    save_sets({second.set_id: mapped[second.set_id]}, directory)
    assert list(load_sets(directory)) == [second.set_id]
    np.testing.assert_array_equal(mapped[first.set_id].images, first.images)
    assert [path.name for path in tmp_path.iterdir()] == ["sets"]


def test_crash_while_saving_leaves_the_old_sets(tmp_path):
    directory = tmp_path / "sets"
    first = make_set(0)
    save_sets({first.set_id: first}, directory)

    def crash() -> np.ndarray:
        raise KeyboardInterrupt

    second = CalibrationSet(make_set(1).manifest, DeferredImages(crash, (4, 1, 5, 5)))
    with pytest.raises(KeyboardInterrupt):
        save_sets({second.set_id: second}, directory)
    assert list(load_sets(directory)) == [first.set_id]
    third = make_set(2)
    save_sets({third.set_id: third}, directory)
    assert list(load_sets(directory)) == [third.set_id]
    assert os.listdir(tmp_path) == ["sets"]


def test_deferred_images_behave_like_the_array():
    array = make_set().images
    deferred = DeferredImages(lambda: array, array.shape)
    assert (len(deferred), deferred.shape, deferred.dtype) == (4, array.shape, np.uint8)
    np.testing.assert_array_equal(np.asarray(deferred), array)
    np.testing.assert_array_equal(deferred[1:3], array[1:3])
