import json
import shutil

import pytest
from tests.registry.conftest import CHANGES, NOW, candidate, release, terms

from ptq_pipeline.registry.records import Records, RegistryError, VerificationError
from ptq_pipeline.registry.release import rollback


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize("name", ["model.bin", "verdict.json", "decision.json", "record.json"])
def test_a_changed_file_is_named_and_the_champion_still_serves(two, name):
    path = two.folder("v0001") / name
    path.write_bytes(path.read_bytes() + b" " if name == "model.bin" else b"{}")
    with pytest.raises(VerificationError, match=f"v0001.*{name}|v0001: "):
        two.verify()
    assert two.verify("v0002") == ["v0002"]
    assert two.champion().version == "v0002"


def test_a_missing_or_added_file_is_named(two):
    (two.folder("v0002") / "extra.txt").write_text("x")
    with pytest.raises(VerificationError, match="extra.txt"):
        two.verify()
    (two.folder("v0002") / "extra.txt").unlink()
    (two.folder("v0002") / "model.bin").unlink()
    with pytest.raises(VerificationError, match=r"model.bin.*\(missing\)"):
        two.verify("v0002")


def test_an_edited_record_is_named_and_blocks_every_change(two):
    edit(two.log.path(1), '"by": "Kim"', '"by": "Eve"')
    for action in (
        two.verify,
        lambda: rollback(two, "v0001", by="Kim", now=NOW),
        lambda: release(two, *candidate("c"), terms()),
    ):
        with pytest.raises(VerificationError, match="00000001.json.*was edited.*serves on"):
            action()
    assert two.champion().version == "v0002"


def test_an_edited_record_with_a_new_hash_breaks_the_chain(two):
    record = two.log.read()[0]
    forged = record.model_copy(update={"content": {**record.content, "by": "Eve"}})
    two.log.path(1).write_text(json.dumps(forged.to_json()))
    with pytest.raises(VerificationError, match="00000002.json.*does not follow"):
        two.verify()


def test_the_last_record_forged_is_not_the_one_that_git_knows(two):
    record = two.log.read()[1]
    forged = record.model_copy(update={"content": {**record.content, "by": "Eve"}})
    two.log.path(2).write_text(json.dumps(forged.to_json()))
    with pytest.raises(VerificationError, match="record 2 of the log .* one of the two was repl"):
        two.verify()


def test_a_log_that_was_forged_as_a_whole_does_not_match_what_stands_in_the_version(two):
    """Another recipe in the record, with new hashes from there to the pointer."""
    first, second = two.log.read()
    hashes = {**first.content["hashes"], "recipe": "0" * 64}
    forged = first.model_copy(update={"content": {**first.content, "hashes": hashes}})
    following = second.model_copy(update={"previous": forged.hash})
    for record in (forged, following):
        two.log.path(record.sequence).write_text(json.dumps(record.to_json()))
        copy = two.folder(record.champion) / "record.json"
        copy.write_text(json.dumps(record.to_json()))
    edit(two.pointer, second.hash, following.hash)
    two.write_baseline(Records((forged, following)))
    with pytest.raises(VerificationError, match="v0001.*trial.json' does not belong to its rec"):
        two.verify()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"sequence": 1}'])
def test_a_truncated_record_is_named(two, content):
    two.log.path(2).write_text(content)
    with pytest.raises(VerificationError, match="00000002.json' is truncated or damaged"):
        two.verify()
    assert two.champion().version == "v0002"


def test_a_missing_record_is_named(two):
    two.log.path(1).unlink()
    with pytest.raises(VerificationError, match="00000001.json' is missing"):
        two.verify()


def test_a_pointer_to_a_version_that_does_not_exist(two):
    edit(two.pointer, "v0002", "v0009")
    with pytest.raises(VerificationError, match="champion.json' names version v0009.*rollback"):
        two.champion()
    rollback(two, "v0001")
    assert two.champion().version == "v0001"


def test_a_pointer_that_was_edited_to_another_version_stops_every_change(two):
    edit(two.pointer, "v0002", "v0001")
    for action in CHANGES:
        with pytest.raises(VerificationError, match="names v0001, and the log made v0002 the cham"):
            action(two)
    assert two.repair() == ["the champion pointer names v0002 again"]
    assert (two.champion().version, two.verify()) == ("v0002", ["v0001", "v0002"])


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
    rollback(two, "v0001")
    assert two.champion().version == "v0001"
    assert two.verify("v0001") == ["v0001"]


def test_a_damaged_pointer_is_mended_by_a_rollback(two):
    two.pointer.write_text("{")
    with pytest.raises(VerificationError, match="champion.json' is damaged.*kedro ptq recover"):
        two.champion()
    two.repair()
    assert two.champion().version == "v0002"
    two.pointer.write_text("{")
    rollback(two, "v0001")
    assert two.champion().version == "v0001"


def test_rolling_back_to_a_damaged_version_is_refused(two):
    (two.folder("v0001") / "model.bin").write_bytes(b"")
    with pytest.raises(VerificationError, match="model.bin"):
        rollback(two, "v0001", by="Kim", now=NOW)
    assert two.champion().version == "v0002"


def test_an_unknown_version(two):
    with pytest.raises(RegistryError, match="'v7' does not exist; the versions are v0001, v0002"):
        two.verify("v7")
