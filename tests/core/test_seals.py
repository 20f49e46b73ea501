import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptq_pipeline.core.seals import (
    Seal,
    SealError,
    break_seals,
    check_origin,
    checked_seal,
    digest,
    read_seal,
    seal_path,
    write_seal,
)


def sealed(path: Path, content: bytes, parameters=None, **inputs: Path) -> Path:
    """A file as a node would leave it."""
    path.write_bytes(content)
    found = {name: digest(source) for name, source in inputs.items()}
    write_seal(
        path,
        Seal(
            content=digest(path),
            node=f"make_{path.stem}",
            parameters=parameters or {},
            inputs=found,
        ),
    )
    return path


@pytest.fixture
def chain(tmp_path):
    """Images -> answers -> verdict, and where each of them is."""
    images = sealed(tmp_path / "images.npy", b"pixels", {"params:stress": "1"})
    answers = sealed(tmp_path / "answers.npy", b"answers", {"params:method": "2"}, images=images)
    verdict = sealed(tmp_path / "verdict.json", b"PASS", {"params:policy": "3"}, answers=answers)
    return {"images": images, "answers": answers, "verdict": verdict}


NOW = {"params:stress": "1", "params:method": "2", "params:policy": "3"}


def refuse(sentence):
    raise SealError(sentence)


def test_a_whole_chain_holds(chain):
    checked_seal(chain["verdict"], "verdict")
    assert check_origin("verdict", chain.get, NOW.get, refuse) == {}


@pytest.mark.parametrize("name", ["images", "answers", "verdict"])
def test_changed_content_is_named(chain, name):
    chain[name].write_bytes(b"other")
    with pytest.raises(SealError, match=f"'{name}' .* was changed after node 'make_{name}' wrote"):
        checked_seal(chain[name], name)


@pytest.mark.parametrize(
    ("group", "name"), [("stress", "images"), ("method", "answers"), ("policy", "verdict")]
)
def test_other_parameters_of_any_ancestor_are_named(chain, group, name):
    now = NOW | {f"params:{group}": "other"}
    with pytest.raises(
        SealError,
        match=f"'{name}' .* other parameters '{group}' .*`kedro run` keeps finished trials",
    ):
        check_origin("verdict", chain.get, now.get, refuse)


def test_an_input_that_was_made_again_differently_is_named(chain):
    sealed(chain["images"], b"other pixels", {"params:stress": "1"})
    with pytest.raises(SealError, match="'answers' .* was made from another 'images'"):
        check_origin("verdict", chain.get, NOW.get, refuse)
    sealed(chain["images"], b"pixels", {"params:stress": "1"})
    check_origin("verdict", chain.get, NOW.get, refuse)


def test_a_run_that_did_not_end_makes_everything_after_it_unusable(chain):
    break_seals([chain["images"]])
    with pytest.raises(SealError, match="'verdict' was made from 'images' .* did not end"):
        check_origin("verdict", chain.get, NOW.get, refuse)
    with pytest.raises(SealError, match="'images' .* is of an earlier run"):
        checked_seal(chain["images"], "images")


def test_what_another_hand_wrote_has_no_seal(tmp_path):
    (tmp_path / "images.npy").write_bytes(b"pixels")
    with pytest.raises(SealError, match="'images' .* has no seal"):
        checked_seal(tmp_path / "images.npy", "images")


def test_ancestors_that_were_not_brought_here_are_no_error(chain):
    for name in ("images", "answers"):
        seal_path(chain[name]).unlink()
        chain[name].unlink()
    assert check_origin("verdict", chain.get, NOW.get, refuse) == {}


def test_inputs_without_a_seal_are_handed_back(tmp_path):
    path = sealed(tmp_path / "answers.npy", b"answers")
    seal = read_seal(path)
    write_seal(path, seal.model_copy(update={"inputs": {"float_model": "ab"}}))
    found = check_origin("answers", {"answers": path}.get, NOW.get, refuse)
    assert found == {"float_model": "ab"}


@pytest.mark.parametrize("content", ['{"content": 3}', "{}", '{"content": "ab", "node": "x"}'])
def test_a_damaged_seal_is_an_error(chain, content):
    seal_path(chain["verdict"]).write_text(content)
    with pytest.raises(SealError, match=r"seal '.*verdict.json.json' is damaged"):
        checked_seal(chain["verdict"], "verdict")


def test_a_rewrite_with_the_old_size_and_time_is_seen(tmp_path):
    path = tmp_path / "images.npy"
    path.write_bytes(b"a" * 100)
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    first = digest(path)
    path.write_bytes(b"b" * 100)
    os.utime(path, ns=times)
    assert digest(path) != first


def test_a_file_written_in_place_is_seen_although_it_was_hashed_long_ago(tmp_path):
    path = tmp_path / "images.npy"
    path.write_bytes(b"a" * 100)
    os.utime(path, (1, 1))
    first = digest(path)
    with path.open("r+b") as stream:
        stream.write(b"b")
    os.utime(path, (1, 1))
    assert digest(path) != first


@given(st.integers(0, 2), st.integers(0, 7))
def test_every_flipped_bit_of_a_folder_is_seen(tmp_path_factory, position, bit):
    folder = tmp_path_factory.mktemp("sets")
    for name in ("a", "b", "c"):
        (folder / name).write_bytes(name.encode())
    first = digest(folder)
    path = folder / "abc"[position]
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1 << bit]))
    assert digest(folder) != first


def test_names_in_a_folder_count(tmp_path):
    (tmp_path / "a").write_bytes(b"1")
    first = digest(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    assert digest(tmp_path) != first
    (tmp_path / "b").rename(tmp_path / "a")
    (tmp_path / ".hidden").write_bytes(b"")
    assert digest(tmp_path) != first
