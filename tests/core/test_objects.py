import logging
import threading
import time

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from ptq_pipeline.core.errors import InputError, StorageError
from ptq_pipeline.core.file_cache import FOLDER_VARIABLE
from ptq_pipeline.core.objects import MARKER, ObjectFolder, fetched


@pytest.fixture
def folder(tmp_path):
    yield ObjectFolder(f"memory://{tmp_path.name}/audit", waits=(0.0, 0.0))
    MemoryFileSystem.store.clear()


def check_round_trip(folder, tmp_path):
    folder.require()
    assert folder.read(MARKER).startswith(b"Objects of ptq_pipeline")
    assert folder.read("trials/a") is None
    assert folder.add("trials/a", b"first")
    assert folder.add("trials/a", b"first")
    assert not folder.add("trials/a", b"second")
    assert folder.read("trials/a") == b"first"
    before = folder.version("trials/a")
    folder.replace("trials/a", b"second")
    assert folder.version("trials/a") != before
    (tmp_path / "file").write_bytes(b"x" * 1000)
    assert folder.upload(tmp_path / "file", "files/b")
    assert not folder.upload(tmp_path / "file", "files/b")
    assert folder.fetch("files/b", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"x" * 1000
    assert not folder.fetch("files/none", tmp_path / "none")
    found = [each for each in folder.names() if each.name != MARKER]
    assert [each[:2] for each in found] == [("files/b", 1000), ("trials/a", 6)]
    # The clock of a bucket may be another one, but no other year.
    assert all(abs(each.written - time.time()) < 3600 for each in found)
    assert list(folder.names("trials")) == found[1:]
    folder.remove("trials/a")
    folder.remove("trials/a")
    assert folder.read("trials/a") is None
    assert list(folder.names("nothing")) == []


def test_objects_come_back(folder, tmp_path):
    check_round_trip(folder, tmp_path)


@pytest.mark.slow
def test_objects_of_a_bucket_come_back(bucket, tmp_path):
    check_round_trip(ObjectFolder(f"{bucket}/audit"), tmp_path)


@pytest.mark.slow
def test_of_two_writers_at_once_one_is_told(bucket):
    """The condition is the server's: both look first and see nothing."""
    told, ready = [], threading.Barrier(4)

    def write(content):
        ready.wait()
        told.append((ObjectFolder(f"{bucket}/race").add("entry", content), content))

    threads = [threading.Thread(target=write, args=(bytes([n]),)) for n in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    kept = ObjectFolder(f"{bucket}/race").read("entry")
    assert sorted(told) == sorted((content == kept, content) for _, content in told)


@pytest.mark.slow
def test_a_bucket_that_is_not_there_is_one_sentence(bucket):
    with pytest.raises(InputError, match="its bucket or container does not exist"):
        ObjectFolder("s3://no-such-bucket/audit").require()


def test_a_storage_that_is_away_is_asked_again_and_then_given_up(folder, monkeypatch, caplog):
    asked = []

    def away(fs, path, **more):
        asked.append(path)
        raise ConnectionError("connection refused")

    cat_file = MemoryFileSystem.cat_file
    monkeypatch.setattr(MemoryFileSystem, "cat_file", away)
    with pytest.raises(StorageError, match=r"does not answer \(connection refused\); what is"):
        folder.read("a")
    assert len(asked) == 3
    assert "asked again" in caplog.text

    def back_soon(fs, path, **more):
        monkeypatch.setattr(MemoryFileSystem, "cat_file", cat_file)
        raise ConnectionError

    monkeypatch.setattr(MemoryFileSystem, "cat_file", back_soon)
    with caplog.at_level(logging.ERROR):
        assert folder.read("a") is None


@pytest.mark.parametrize(
    "error", [PermissionError("Forbidden"), type("NoCredentialsError", (Exception,), {})("no")]
)
def test_wrong_credentials_are_one_sentence_at_once(folder, monkeypatch, error):
    def refuse(fs, path, **more):
        raise error

    monkeypatch.setattr(MemoryFileSystem, "cat_file", refuse)
    with pytest.raises(StorageError, match="lets nobody in with the credentials found here"):
        folder.require()


def test_a_file_at_a_url_is_fetched_once_a_version(folder, tmp_path, monkeypatch):
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    url = f"{folder.url}/model.onnx"
    with pytest.raises(InputError, match=f"'weights: {url}' does not exist"):
        fetched(url, "weights")
    folder.add("model.onnx", b"first")
    path = fetched(url)
    assert (path.read_bytes(), path.suffix) == (b"first", ".onnx")
    monkeypatch.setattr(ObjectFolder, "fetch", None)
    assert fetched(url) == path
    monkeypatch.undo()
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    folder.replace("model.onnx", b"second")
    assert fetched(url).read_bytes() == b"second"
    with pytest.raises(InputError, match="holds a name, a password"):
        fetched(f"{url}?signature=x", "weights")


def test_what_a_url_needs_is_said_by_name():
    with pytest.raises(InputError, match=r"cannot be opened \(.*\): give another URL or a path"):
        ObjectFolder("nothing://bucket").read("a")
    with pytest.raises(InputError, match=r"pip install 'ptq-pipeline\[gcs\]'"):
        ObjectFolder("gs://bucket").read("a")
    with pytest.raises(InputError, match="'filepath: .*holds a name, a password") as error:
        ObjectFolder("s3://AKIA:wJal@bucket")
    assert "wJal" not in str(error.value)
