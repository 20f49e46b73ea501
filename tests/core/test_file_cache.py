import os
from hashlib import sha256

import pytest

from ptq_pipeline.core.errors import InputError, NoSpaceError
from ptq_pipeline.core.file_cache import FOLDER_VARIABLE, LIMIT_VARIABLE, FileCache


def put(cache, content, age=0.0):
    """Let a file arrive that was used some seconds ago; return its hash."""
    name = sha256(content).hexdigest()
    cache.make_room(len(content))
    arriving = cache.arriving(f"{name}-1")
    arriving.write_bytes(content)
    path = cache.add(arriving, name)
    now = path.stat().st_mtime
    os.utime(path, (now - age, now - age))
    return name


def test_what_was_used_longest_ago_goes_first(tmp_path):
    cache = FileCache(tmp_path, limit=30)
    old, middle, new = (put(cache, bytes([n]) * 10, age) for n, age in ((1, 9e3), (2, 8e3), (3, 0)))
    assert cache.size() == 30
    with cache.find(old).open("rb") as kept:
        put(cache, b"4" * 10)
        assert cache.find(middle) is None
        assert None not in (cache.find(old), cache.find(new))
        # Removing a file takes it from nobody who reads it.
        put(cache, b"5" * 30)
        assert cache.find(old) is None
        assert kept.read() == b"\1" * 10
    assert cache.size() == 30


def test_a_file_that_changed_is_not_found_and_one_that_was_cut_off_not_taken(tmp_path):
    cache = FileCache(tmp_path, limit=100)
    name = put(cache, b"content")
    cache.find(name).write_bytes(b"CONTENT")
    assert cache.find(name) is None
    assert cache.size() == 0
    arriving = cache.arriving("part")
    arriving.write_bytes(b"conte")
    with pytest.raises(InputError, match=r"damaged or cut off.*\(5 bytes arrived\)"):
        cache.add(arriving, name)
    assert not arriving.exists()


def test_what_cannot_fit_is_refused_before_anything_is_removed(tmp_path):
    cache = FileCache(tmp_path, limit=20)
    name = put(cache, b"content")
    with pytest.raises(NoSpaceError, match=f"raise {LIMIT_VARIABLE}"):
        cache.make_room(21)
    assert cache.find(name)
    huge = FileCache(tmp_path, limit=1 << 62)
    with pytest.raises(NoSpaceError, match=f"another disk in {FOLDER_VARIABLE}"):
        huge.make_room(1 << 61)
    assert cache.find(name)


def test_leftovers_of_dead_processes_go_after_a_week(tmp_path):
    cache = FileCache(tmp_path, limit=20)
    paths = [cache.arriving(name) for name in ("new", "old")]
    for path in paths:
        path.write_bytes(b"half")
    os.utime(paths[1], (0, 0))
    put(cache, b"content")
    assert [path.exists() for path in paths] == [True, False]


@pytest.mark.parametrize("limit", ["much", "0", "-1", "nan", "inf"])
def test_a_limit_that_is_none_is_refused_by_the_name_of_the_variable(monkeypatch, limit):
    monkeypatch.setenv(LIMIT_VARIABLE, limit)
    with pytest.raises(InputError, match=f"{LIMIT_VARIABLE} is '{limit}', which is no number of"):
        FileCache.of_this_host()


def test_the_cache_of_this_host_is_where_the_variables_say(monkeypatch, tmp_path):
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    monkeypatch.setenv(LIMIT_VARIABLE, "0.5")
    found = FileCache.of_this_host()
    assert (found.root, found.limit) == (tmp_path, 500_000_000)
