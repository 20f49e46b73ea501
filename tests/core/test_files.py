import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.files import (
    clean,
    replacing,
    replacing_folder,
    write_file,
    write_folder,
    write_once,
)


def test_a_failed_write_keeps_the_old_content(tmp_path):
    path = tmp_path / "new" / "file"
    with replacing(path) as scratch:
        scratch.write_text("old")
    with pytest.raises(RuntimeError), replacing(path) as scratch:
        scratch.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_is_replaced_as_a_whole_or_not_at_all(tmp_path):
    folder = tmp_path / "folder"
    with replacing_folder(folder) as scratch:
        (scratch / "a").write_text("old")
    with pytest.raises(RuntimeError), replacing_folder(folder) as scratch:
        (scratch / "b").write_text("half")
        raise RuntimeError
    assert [path.name for path in folder.iterdir()] == ["a"]
    with replacing_folder(folder) as scratch:
        (scratch / "c").write_text("new")
    assert [path.name for path in folder.iterdir()] == ["c"]
    assert list(tmp_path.iterdir()) == [folder]


def test_a_file_is_written_once(tmp_path):
    write_once(tmp_path / "a", b"first")
    with pytest.raises(FileExistsError):
        write_once(tmp_path / "a", b"second")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a", b"first")]


@pytest.mark.parametrize("name", ["/a", "../a", "a/../../b", ""])
def test_a_name_that_leaves_the_folder_is_refused(tmp_path, name):
    with pytest.raises(InputError, match="leaves the folder"):
        write_folder(tmp_path / "folder", {name: b""})
    assert list(tmp_path.iterdir()) == []


def killed_while(action):
    """Run `action` in another process and kill it in there."""
    child = os.fork()
    if child == 0:
        try:
            action(lambda: os.kill(os.getpid(), signal.SIGKILL))
        finally:
            os._exit(1)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])


def test_what_a_killed_writer_left_is_removed_by_a_later_process(tmp_path):
    def write(kill):
        with replacing(tmp_path / "file") as scratch:
            scratch.write_text("half")
            kill()

    def write_beside(kill):
        write_file(tmp_path / "another", b"x")
        kill()

    killed_while(write)
    assert [path.suffix for path in tmp_path.iterdir()] == [".tmp"]
    killed_while(write_beside)
    assert [path.name for path in tmp_path.iterdir()] == ["another"]


def test_what_a_writer_of_another_host_is_at_is_left_alone_for_a_day(tmp_path):
    """There, a lock may say nothing here."""
    theirs = tmp_path / ".file.0123abcd.ab_cdefg.tmp"
    theirs.mkdir()
    clean(tmp_path)
    assert theirs.exists()
    os.utime(theirs, (0, 0))
    clean(tmp_path)
    assert not theirs.exists()


def test_what_a_living_writer_is_at_is_left_alone(tmp_path):
    with replacing(tmp_path / "file") as scratch:
        scratch.write_text("whole")
        clean(tmp_path)
        killed_while(lambda kill: (write_file(tmp_path / "another", b"x"), kill()))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["another", "file"]
    assert (tmp_path / "file").read_text() == "whole"


def test_an_old_folder_whose_place_is_empty_is_put_back(tmp_path, monkeypatch):
    folder = tmp_path / "folder"
    write_folder(folder, {"a": b"old"})
    rename = os.rename

    def replace(kill):
        def once(source, target):
            rename(source, target)
            kill()

        monkeypatch.setattr(os, "rename", once)
        write_folder(folder, {"b": b"new"})

    killed_while(replace)
    assert not folder.exists()
    clean(tmp_path)
    assert [(path.name, path.read_bytes()) for path in folder.iterdir()] == [("a", b"old")]
    assert list(tmp_path.iterdir()) == [folder]


def test_every_file_and_folder_is_on_the_disk_before_it_appears(tmp_path, monkeypatch):
    synced = []
    fsync = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda fd: (synced.append(os.path.realpath(f"/proc/self/fd/{fd}")), fsync(fd))
    )
    write_folder(tmp_path / "new" / "folder", {"deep/a": b"1", "b": b"2"})
    names = [Path(name).name for name in synced]
    assert {"a", "deep", "b", "folder", "new", tmp_path.name} <= set(names)
    assert names.index("a") < names.index("deep") < names.index("folder")
    assert names[-1] == "new"


FULL = """
import resource, signal, sys
from pathlib import Path
from ptq_pipeline.core.errors import PtqPipelineError
from ptq_pipeline.core.files import write_file

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
folder = Path(sys.argv[1])
try:
    write_file(folder / "one", bytes(5000))
except PtqPipelineError as error:
    print(error)
"""


def test_a_disk_that_takes_no_more_is_said_in_a_sentence(tmp_path):
    (tmp_path / "one").write_bytes(b"old")
    said = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert "one' cannot be written (File too large); what was there is as it was" in said.stdout
    assert (tmp_path / "one").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["one"]
