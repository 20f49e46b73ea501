import json
import shutil

import pytest
from tests.registry.conftest import against, candidate, terms

from ptq_pipeline.registry import (
    RegistryError,
    ReleaseTerms,
    VerificationError,
    release,
    rollback,
    verify,
)


@pytest.fixture
def two(registry):
    """A registry of two versions."""
    first = candidate("a")
    release(registry, *first, terms())
    release(registry, *candidate("b", champion=against(first[0])), terms())
    return registry


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize("name", ["model.bin", "verdict.json", "decision.json", "record.json"])
def test_a_changed_file_is_named_and_the_champion_still_serves(two, name):
    path = two.folder("v0001") / name
    path.write_bytes(path.read_bytes() + b" " if name == "model.bin" else b"{}")
    with pytest.raises(VerificationError, match=f"v0001.*{name}|v0001: "):
        verify(two)
    assert verify(two, "v0002") == ["v0002"]
    assert two.champion().version == "v0002"


def test_a_missing_or_added_file_is_named(two):
    (two.folder("v0002") / "extra.txt").write_text("x")
    with pytest.raises(VerificationError, match="extra.txt"):
        verify(two)
    (two.folder("v0002") / "extra.txt").unlink()
    (two.folder("v0002") / "model.bin").unlink()
    with pytest.raises(VerificationError, match=r"model.bin.*\(missing\)"):
        verify(two, "v0002")


def test_an_edited_record_is_named_and_blocks_every_change(two):
    edit(two.log.path(1), '"by": "Kim"', '"by": "Eve"')
    for action in (
        lambda: verify(two),
        lambda: rollback(two, "v0001", terms()),
        lambda: release(two, *candidate("c"), terms()),
    ):
        with pytest.raises(VerificationError, match="00000001.json.*was edited.*serves on"):
            action()
    assert two.champion().version == "v0002"


def test_an_edited_record_with_a_new_hash_breaks_the_chain(two):
    from dataclasses import replace

    record = two.log.read()[0]
    forged = replace(record, content={**record.content, "by": "Eve"})
    two.log.path(1).write_text(json.dumps(forged.to_json()))
    with pytest.raises(VerificationError, match="00000002.json.*does not follow"):
        verify(two)


def test_the_last_record_forged_does_not_match_the_pointer(two):
    from dataclasses import replace

    record = two.log.read()[1]
    forged = replace(record, content={**record.content, "by": "Eve"})
    two.log.path(2).write_text(json.dumps(forged.to_json()))
    with pytest.raises(VerificationError, match="names a record that is not in the log"):
        verify(two)


def test_a_log_that_was_forged_as_a_whole_does_not_match_what_stands_in_the_version(two):
    """Another recipe in the record, with new hashes from there to the pointer."""
    from dataclasses import replace

    first, second = two.log.read()
    hashes = {**first.content["hashes"], "recipe": "0" * 64}
    forged = replace(first, content={**first.content, "hashes": hashes})
    following = replace(second, previous=forged.hash)
    for record in (forged, following):
        two.log.path(record.sequence).write_text(json.dumps(record.to_json()))
        copy = two.folder(record.champion) / "record.json"
        copy.write_text(json.dumps(record.to_json()))
    edit(two.pointer, second.hash, following.hash)
    with pytest.raises(VerificationError, match="v0001.*trial.json' does not belong to its rec"):
        verify(two)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"sequence": 1}'])
def test_a_truncated_record_is_named(two, content):
    two.log.path(2).write_text(content)
    with pytest.raises(VerificationError, match="00000002.json' is truncated or damaged"):
        verify(two)
    assert two.champion().version == "v0002"


def test_a_missing_record_is_named(two):
    two.log.path(1).unlink()
    with pytest.raises(VerificationError, match="00000001.json' is missing"):
        verify(two)


def test_a_pointer_to_a_version_that_does_not_exist(two):
    edit(two.pointer, "v0002", "v0009")
    with pytest.raises(VerificationError, match="champion.json' names version v0009.*rollback"):
        two.champion()
    rollback(two, "v0001", ReleaseTerms())
    assert two.champion().version == "v0001"


def test_a_pointer_that_was_edited_to_another_version_is_found_and_mended(two):
    edit(two.pointer, "v0002", "v0001")
    with pytest.raises(VerificationError, match="names v0001, and its record made v0002"):
        verify(two)
    third = candidate("c", champion=against(candidate("b", champion=against(candidate("a")[0]))[0]))
    release(two, *third, terms())
    assert (two.champion().version, verify(two)[-1]) == ("v0003", "v0003")


def test_a_pointer_cannot_leave_the_registry(two):
    (two.root / "outside").mkdir()
    edit(two.pointer, "v0002", "../outside")
    with pytest.raises(VerificationError, match="names version ../outside"):
        two.champion()


@pytest.mark.parametrize("lost", ["folder", "baseline.json"])
def test_a_champion_that_lost_its_files_is_left_by_the_rollback_that_the_message_names(two, lost):
    folder = two.folder("v0002")
    if lost == "folder":
        shutil.rmtree(folder)
    else:
        (folder / lost).write_text("{")
    with pytest.raises(VerificationError, match="v0002.*backup, or `kedro ptq rollback --to VER"):
        release(two, *candidate("c"), terms())
    rollback(two, None, ReleaseTerms())
    assert two.champion().version == "v0001"
    assert verify(two, "v0001") == ["v0001"]


def test_a_damaged_pointer_is_mended_by_a_rollback(two):
    two.pointer.write_text("{")
    with pytest.raises(VerificationError, match="champion.json' is damaged"):
        two.champion()
    rollback(two, "v0001", ReleaseTerms())
    assert two.champion().version == "v0001"


def test_rolling_back_to_a_damaged_version_is_refused(two):
    (two.folder("v0001") / "model.bin").write_bytes(b"")
    with pytest.raises(VerificationError, match="model.bin"):
        rollback(two, "v0001", terms())
    assert two.champion().version == "v0002"


def test_an_unknown_version(two):
    with pytest.raises(RegistryError, match="'v7' does not exist; the versions are v0001, v0002"):
        verify(two, "v7")
