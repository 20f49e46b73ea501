import hashlib
import os
import socket

import pytest

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.inputs import local_path, open_regular, read_regular, require_no_secret


@pytest.mark.parametrize(
    "url", ["s3://bucket/images", "file:///data", "gs:/bucket", "simplecache::s3://b", "dbfs:/x"]
)
def test_a_url_is_no_folder(url):
    with pytest.raises(InputError, match="'filepath: .*' is a URL, and only files of this machine"):
        local_path(url)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("s3://AKIA:wJal/K7+x@bucket/images", "s3://...bucket/images"),
        ("https://h/x.npz?X-Amz-Signature=wJal", "https://h/x.npz..."),
        ("ftp://user:wJal@h", "ftp://...h"),
    ],
)
def test_a_secret_in_a_url_is_refused_and_not_shown(url, shown):
    with pytest.raises(InputError) as error:
        local_path(url, "weights")
    assert f"'weights: {shown}' holds a name, a password or a signature" in str(error.value)
    assert "wJal" not in str(error.value)
    for harmless in ("abfs://images@account.dfs.core.windows.net/a", "s3://b/c", "data/a@b:c?"):
        require_no_secret(harmless, "weights")


@pytest.mark.parametrize("path", ["data/01_raw", "/abs/x", "C:/images", "with:colon", "a b/c"])
def test_paths_stay_paths(path):
    assert str(local_path(path)) == path


def test_pipes_devices_sockets_and_folders_are_never_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        for name, kind in (
            ("pipe", "a named pipe"),
            ("link", "a named pipe"),
            ("socket", "a socket"),
            ("/dev/zero", "a device"),
            ("", "a folder"),
        ):
            with pytest.raises(InputError, match=f"is {kind}, and only regular files"):
                open_regular(tmp_path / name)


def test_a_declared_hash_is_held_against_the_content(tmp_path):
    path = tmp_path / "weights"
    path.write_bytes(b"abc")
    right = hashlib.sha256(b"abc").hexdigest()
    assert read_regular(path) == read_regular(path, right.upper()) == b"abc"
    path.write_bytes(b"abd")
    with pytest.raises(InputError, match=r"weights' is not the file .*ba7816bf8f01\.\.\., but"):
        read_regular(path, right)
    with pytest.raises(InputError, match="'12' is|is '12', which is no SHA-256"):
        read_regular(path, "12")
