import gzip
import hashlib
import os

import numpy as np
import pytest

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.images import idx
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
    copy = pair["images"].with_name("copy.gz")
    copy.write_bytes(pair["images"].read_bytes())
    source = IdxSource([pair, pair | {"images": copy}])
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


@pytest.mark.parametrize("name", ["images", "labels"])
def test_a_flipped_bit_is_found_by_the_declared_hash(pair, name):
    declared = {
        each: hashlib.sha256(pair[each].read_bytes()).hexdigest() for each in ("images", "labels")
    }
    IdxSource([pair | {"sha256": declared}])
    content = bytearray(pair[name].read_bytes())
    content[-1] ^= 1
    pair[name].write_bytes(content)
    with pytest.raises(InputError, match=rf"{name}.* is not the file that its 'sha256' declares"):
        IdxSource([pair | {"sha256": declared}])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lables": "x"}, "a part has the setting 'lables'; it can have images, labels"),
        ({"sha256": {"image": "x"}}, "'sha256' of a part has the setting 'image'"),
        ({"images": "s3://bucket/images.gz"}, "is a URL"),
    ],
)
def test_settings_of_a_part_that_would_be_lost_are_refused(pair, change, message):
    with pytest.raises(InputError, match=message):
        IdxSource([pair | change])


def test_parts_are_read_once_and_are_there(pair):
    with pytest.raises(InputError, match="two parts read '.*', so it would count twice"):
        IdxSource([pair, dict(pair)])
    with pytest.raises(InputError, match="has no 'parts'"):
        IdxSource([])
    with pytest.raises(InputError, match="a part has no 'images'"):
        IdxSource([{"labels": pair["labels"]}])


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "images.gz")
    with pytest.raises(InputError, match="is a named pipe"):
        read_idx(tmp_path / "images.gz")


def test_a_compressed_file_is_not_opened_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(idx, "MOST_BYTES", 1 << 20)
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(bytes(1 << 22)))
    with pytest.raises(InputError, match="bomb.gz' holds over"):
        read_idx(path)


def test_a_header_that_overflows_is_named(tmp_path):
    path = tmp_path / "huge"
    path.write_bytes(bytes([0, 0, 8, 3]) + np.array([2**32 - 1] * 3, ">u4").tobytes())
    with pytest.raises(InputError, match="huge' is truncated"):
        read_idx(path)
