import numpy as np
import pytest

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.datasets import ArrayDataset, ArrayFolderDataset


def test_arrays_come_back_memory_mapped_and_read_only(tmp_path):
    array = np.arange(10_000 * 3, dtype=np.uint8).reshape(10_000, 3)
    dataset = ArrayDataset(str(tmp_path / "new/array.npy"))
    assert not dataset.exists()
    dataset.save(array)
    loaded = dataset.load()
    assert isinstance(loaded, np.memmap)
    assert not loaded.flags.writeable
    np.testing.assert_array_equal(loaded, array)


def test_an_array_can_be_saved_over_the_file_it_is_mapped_from(tmp_path):
    dataset = ArrayDataset(str(tmp_path / "array.npy"))
    dataset.save(np.arange(5))
    dataset.save(dataset.load()[::-1])
    assert dataset.load().tolist() == [4, 3, 2, 1, 0]


def test_a_truncated_array_is_named(tmp_path):
    dataset = ArrayDataset(str(tmp_path / "array.npy"))
    dataset.save(np.arange(100))
    path = tmp_path / "array.npy"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(Exception, match=r"array\.npy.*missing or damaged") as caught:
        dataset.load()
    assert isinstance(caught.value.__cause__, InputError)


def test_a_folder_of_arrays_forgets_what_is_not_saved_again(tmp_path):
    dataset = ArrayFolderDataset(str(tmp_path / "folder"))
    dataset.save({"a": np.arange(3), "b": np.arange(4)})
    dataset.save({"b": np.arange(5)})
    assert {name: array.tolist() for name, array in dataset.load().items()} == {
        "b": [0, 1, 2, 3, 4]
    }
