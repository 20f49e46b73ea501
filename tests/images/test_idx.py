import gzip

import numpy as np
import pytest

from ptq_pipeline.errors import InputError
from ptq_pipeline.images.idx import IdxSource, read_idx


def write_idx(path, array):
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    content = header + array.tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.fixture
def pair(tmp_path):
    images = np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3)
    return {
        "images": write_idx(tmp_path / "images.gz", images),
        "labels": write_idx(tmp_path / "labels", np.arange(5, dtype=np.uint8)),
        "splits": {"pool": 1},
    }


def test_reads_grey_images_with_a_channel_axis(pair):
    source = IdxSource([pair, pair])
    assert source.shape == (1, 4, 3)
    assert list(source.table["label"]) == [0, 1, 2, 3, 4] * 2
    assert list(source.table["part"]) == [0] * 5 + [1] * 5
    np.testing.assert_array_equal(source.read(6)[0], np.arange(12, 24).reshape(4, 3))


def test_reads_colour_images_channel_first(tmp_path):
    images = np.arange(2 * 2 * 2 * 3, dtype=np.uint8).reshape(2, 2, 2, 3)
    source = IdxSource([{"images": write_idx(tmp_path / "colour", images)}])
    assert source.shape == (3, 2, 2)
    np.testing.assert_array_equal(source.read(1), images[1].transpose(2, 0, 1))
    assert source.table["label"].isna().all()


@pytest.mark.parametrize("cut", [2, 9, 40])
def test_a_truncated_file_is_named(pair, cut):
    path = pair["labels"].with_name("short")
    path.write_bytes(gzip.decompress(pair["images"].read_bytes())[:cut])
    with pytest.raises(InputError, match="short"):
        read_idx(path)


def test_a_truncated_gzip_file_is_named(pair):
    content = pair["images"].read_bytes()
    pair["images"].write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"images\.gz.*truncated"):
        read_idx(pair["images"])


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="nowhere"):
        read_idx(tmp_path / "nowhere")


def test_labels_of_another_file_are_refused(pair, tmp_path):
    pair["labels"] = write_idx(tmp_path / "four", np.zeros(4, np.uint8))
    with pytest.raises(InputError, match="do not belong together"):
        IdxSource([pair])
