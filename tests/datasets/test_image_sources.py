import gzip
import hashlib
import os
import shutil

import numpy as np
import pytest
from kedro.io import DatasetError
from PIL import Image

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.datasets import (
    IdxImageDataset,
    ImageFolderDataset,
    ImageManifestDataset,
    ImageWindowsDataset,
)
from ptq_pipeline.images.source import decode_source


def write_window(folder, count):
    folder.mkdir(parents=True)
    header = bytes([0, 0, 8, 3]) + np.array([count, 4, 4], ">u4").tobytes()
    (folder / "images-idx3-ubyte.gz").write_bytes(gzip.compress(header + bytes(16 * count)))


def test_windows_are_read_in_the_order_of_their_names(tmp_path):
    write_window(tmp_path / "week_2", 3)
    write_window(tmp_path / "week_1", 2)
    for name in ("cat", "dog"):
        (tmp_path / "week_3" / name).mkdir(parents=True)
        Image.fromarray(np.full((9, 9), 5, np.uint8)).save(tmp_path / "week_3" / name / "1.png")
    (tmp_path / ".week_4").mkdir()
    windows = ImageWindowsDataset(str(tmp_path), [1, 4, 4]).load()
    assert list(windows) == ["week_1", "week_2", "week_3"]
    assert [len(window().table) for window in windows.values()] == [2, 3, 2]
    assert decode_source(windows["week_3"]()).images.shape == (2, 1, 4, 4)


def test_a_broken_window_is_an_error_only_when_it_is_opened(tmp_path):
    write_window(tmp_path / "whole", 2)
    write_window(tmp_path / "cut", 2)
    (tmp_path / "notes").mkdir()
    path = tmp_path / "cut/images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:20])
    windows = ImageWindowsDataset(str(tmp_path), [1, 4, 4]).load()
    assert len(windows["whole"]().table) == 2
    with pytest.raises(InputError, match="cut/images-idx3-ubyte.gz' is truncated"):
        windows["cut"]()
    with pytest.raises(InputError, match="notes' holds no window: neither"):
        windows["notes"]()


def test_no_folder_is_no_window(tmp_path):
    assert ImageWindowsDataset(str(tmp_path / "none"), [1, 4, 4]).load() == {}


def test_folder_and_manifest(tmp_path):
    (tmp_path / "cat").mkdir()
    Image.fromarray(np.full((9, 9), 5, np.uint8)).save(tmp_path / "cat/1.png")
    (tmp_path / "list.csv").write_text("path,label,split\ncat/1.png,cat,audit\n")
    source = ImageFolderDataset(str(tmp_path), [1, 4, 4], {"pool": 1}).load()
    assert source.splits == [{"pool": 1}]
    listed = ImageManifestDataset(str(tmp_path / "list.csv"), [3, 4, 4]).load()
    assert listed.read(0).shape == (3, 4, 4)
    assert listed.table["split"].tolist() == ["audit"]


@pytest.mark.parametrize("shape", [[28, 28], [0, 4, 4], [4, 4, 4]])
def test_a_bad_shape_is_explained(tmp_path, shape):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/1.png").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"shape: \[channels|1 or 3 channels"):
        ImageFolderDataset(str(tmp_path), shape).load()


def test_sources_are_read_only():
    with pytest.raises(DatasetError, match="read only"):
        IdxImageDataset([]).save(1)


def test_a_window_may_not_lead_elsewhere_or_mean_two_things(tmp_path):
    write_window(tmp_path / "elsewhere", 2)
    write_window(tmp_path / "windows/both", 2)
    (tmp_path / "windows/both/manifest.csv").write_text("path\n")
    (tmp_path / "windows/away").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "windows/circle").symlink_to(tmp_path / "windows/circle")
    windows = ImageWindowsDataset(str(tmp_path / "windows"), [1, 4, 4]).load()
    with pytest.raises(InputError, match="window .*away' leaves its folder"):
        windows["away"]()
    with pytest.raises(InputError, match="circle' cannot be followed"):
        windows["circle"]()
    with pytest.raises(InputError, match="holds images-idx3-ubyte.gz and manifest.csv; keep the"):
        windows["both"]()
    allowed = ImageWindowsDataset(str(tmp_path / "windows"), [1, 4, 4], allow_outside=True).load()
    assert len(allowed["away"]().table) == 2


def test_a_pipe_in_a_window_is_not_waited_for(tmp_path):
    for name in ("images-idx3-ubyte.gz", "manifest.csv"):
        (tmp_path / "w").mkdir()
        os.mkfifo(tmp_path / "w" / name)
        with pytest.raises(InputError, match="is a named pipe"):
            ImageWindowsDataset(str(tmp_path), [1, 4, 4]).load()["w"]()
        shutil.rmtree(tmp_path / "w")


def test_a_hash_of_a_manifest_is_held_against_it(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text("path,label\ncat/1.png,cat\n")
    declared = hashlib.sha256(path.read_bytes()).hexdigest()
    ImageManifestDataset(str(path), [1, 4, 4], sha256=declared).load()
    path.write_text("path,label\ncat/1.png,dog\n")
    with pytest.raises(DatasetError, match="is not the file that its 'sha256' declares"):
        ImageManifestDataset(str(path), [1, 4, 4], sha256=declared).load()
    (tmp_path / "cat").mkdir()
    with pytest.raises(DatasetError, match="is that of its 'annotations'"):
        ImageFolderDataset(str(tmp_path), [1, 4, 4], sha256=declared).load()
