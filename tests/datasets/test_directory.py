import json
import os
from hashlib import sha256
from pathlib import Path

import pytest
from kedro.io import DatasetError

from ptq_pipeline.datasets.directory import CandidateDirectory, DirectoryDataset


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_saving_replaces_the_whole_folder(tmp_path: Path) -> None:
    dataset = DirectoryDataset(str(tmp_path / "out/folder"))
    assert not dataset.exists()
    dataset.save({"a.txt": b"1", "inner/b.bin": b"\x00\xff"})
    dataset.save({"inner/c.bin": b"2", "a.txt": b"3"})
    loaded = dataset.load()
    assert {name: path.read_bytes() for name, path in loaded.items()} == {
        "a.txt": b"3",
        "inner/c.bin": b"2",
    }
    assert names(tmp_path / "out") == ["folder"]


def test_a_failed_save_leaves_the_old_files(tmp_path: Path) -> None:
    dataset = DirectoryDataset(str(tmp_path / "folder"))
    dataset.save({"a.txt": b"1"})
    with pytest.raises(DatasetError):
        dataset.save({"a.txt": b"2", "b.txt": "not bytes"})
    assert dataset.load()["a.txt"].read_bytes() == b"1"
    assert names(tmp_path) == ["folder"]


def test_a_failed_swap_puts_the_old_folder_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = DirectoryDataset(str(tmp_path / "folder"))
    dataset.save({"a.txt": b"1"})
    rename = os.rename

    def fail_on_new(path: Path, target: Path) -> None:
        if target.name == "folder" and not path.name.endswith(".old"):
            raise OSError(28, "No space left on device")
        rename(path, target)

    monkeypatch.setattr(os, "rename", fail_on_new)
    with pytest.raises(DatasetError, match="No space left"):
        dataset.save({"a.txt": b"2"})
    assert dataset.load()["a.txt"].read_bytes() == b"1"
    assert names(tmp_path) == ["folder"]


@pytest.mark.parametrize("name", ["../b.txt", "/etc/b.txt", "", "a/../../b"])
def test_names_stay_inside(tmp_path: Path, name: str) -> None:
    dataset = DirectoryDataset(str(tmp_path / "folder"))
    with pytest.raises(DatasetError, match="leaves the folder"):
        dataset.save({name: b""})
    assert names(tmp_path) == []


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="does not exist"):
        DirectoryDataset(str(tmp_path / "folder")).load()


@pytest.fixture
def candidate(tmp_path: Path) -> CandidateDirectory:
    dataset = CandidateDirectory(str(tmp_path / "candidate"))
    index = {"files": {"model.bin": sha256(b"weights").hexdigest()}}
    dataset.save({"model.bin": b"weights", "candidate.json": json.dumps(index).encode()})
    return dataset


def test_an_intact_candidate_loads(candidate: CandidateDirectory) -> None:
    assert list(candidate.load()) == ["candidate.json", "model.bin"]


@pytest.mark.parametrize("damage", ["changed", "missing", "added", "index"])
def test_a_damaged_candidate_is_refused(
    candidate: CandidateDirectory, tmp_path: Path, damage: str
) -> None:
    folder = tmp_path / "candidate"
    if damage == "changed":
        (folder / "model.bin").write_bytes(b"weightz")
    elif damage == "missing":
        (folder / "model.bin").unlink()
    elif damage == "added":
        (folder / "extra.txt").write_bytes(b"")
    else:
        (folder / "candidate.json").write_text("{")
    with pytest.raises(DatasetError, match="index" if damage == "index" else "1 such files"):
        candidate.load()
