"""Log, pointer, version folders and the head of the log in git agree, or nothing moves."""

import json
import shutil

import pytest
from kedro.io import DatasetError
from tests.registry.conftest import CHANGES, GRANTED, NOW, release, terms, third

from ptq_pipeline.datasets import BaselineDataset
from ptq_pipeline.judgement.baseline import Baseline
from ptq_pipeline.registry.records import Records, VerificationError
from ptq_pipeline.registry.release import excused, rollback, waive


def stops(registry, match, changes=CHANGES):
    """Whatever is tried ends in the same sentence and leaves every file as it is."""
    before = contents(registry)
    for change in changes:
        with pytest.raises(VerificationError, match=match):
            change(registry)
    assert contents(registry) == before


def contents(registry):
    files = [path for path in registry.root.rglob("*") if path.is_file() and path.name != "lock"]
    found = {path.relative_to(registry.root).as_posix(): path.read_bytes() for path in files}
    return found | {"baseline": registry.baseline.is_file() and registry.baseline.read_bytes()}


def roll_back(registry):
    rollback(registry, "v0001", by="Kim", now=NOW)


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_a_log_whose_last_records_are_gone_moves_nothing_and_deletes_nothing(two, kept):
    waive(two, GRANTED, NOW)
    for sequence in range(kept + 1, 4):
        two.log.path(sequence).unlink()
    stops(two, "knows of 3 records, and the log .* records are missing", (*CHANGES, roll_back))
    with pytest.raises(VerificationError, match="records are missing|the log was shortened"):
        two.repair()


def test_a_record_comes_back_from_its_version(two):
    two.log.path(2).unlink()
    stops(two, "under the number that its `sequence` says")
    shutil.copy(two.folder("v0002") / "record.json", two.log.path(2))
    assert two.verify() == ["v0001", "v0002"]


def test_a_version_without_a_record_is_named_even_where_the_head_was_taken_back(two):
    two.log.path(2).unlink()
    two.switch(two.log.read()[0])
    two.write_baseline(two.log.read())
    stops(two, "v0002' has no record in the log .* which ends with record 1: the log was shortened")


@pytest.mark.parametrize("lost", ["folder", "log and pointer", "all but versions"])
def test_a_registry_that_is_gone_is_not_begun_again(two, lost):
    if lost == "folder":
        shutil.rmtree(two.root)
    else:
        shutil.rmtree(two.log.folder)
        if lost == "log and pointer":
            two.pointer.unlink()
    stops(two, "the log .* is empty or missing: records are missing", (*CHANGES, roll_back))
    assert excused(two, third()[0], NOW) == (True, []) if lost == "folder" else True


def test_an_empty_record_is_no_record(two):
    two.log.path(2).write_bytes(b"")
    stops(two, "00000002.json' is truncated or damaged")


def test_an_earlier_baseline_from_git_is_written_again_by_repair(two):
    earlier = two.baseline_after(Records(two.log.read()[:1]))
    two.baseline.write_text(json.dumps(earlier.to_json()))
    stops(
        two, "is older than the log .* `kedro ptq recover` writes it again", (*CHANGES, roll_back)
    )
    assert "is written from the log; commit it" in two.repair()[0]
    assert two.verify() == ["v0001", "v0002"]
    assert two.repair() == []


def test_a_missing_baseline_is_written_again_by_repair(two):
    two.baseline.unlink()
    stops(two, "champion_baseline.json' is missing.*restore it from git")
    two.repair()
    assert two.verify() == ["v0001", "v0002"]


def forged(two, **changes):
    """Edit champion_baseline.json and give it a hash that fits."""
    content = two.known().to_json() | changes
    content.pop("baseline_hash")
    known = Baseline.read(json.loads(json.dumps(content)) | {"schema_version": 1})
    two.baseline.write_text(json.dumps(known.at(**content["log"]).to_json()))


def answers(value):
    packed = Baseline(answers={"clean": value}).to_json()["answers"]
    return {"answers": packed}


@pytest.mark.parametrize("what", [{"version": "v0001"}, {"decision_hash": "0" * 64}, "answers"])
def test_an_edited_baseline_with_a_new_hash_is_not_what_the_registry_says(two, what):
    import numpy as np

    forged(two, **(answers(np.full(4, 255)) if what == "answers" else what))
    stops(two, "champion_baseline.json' is not what .* it was edited; restore it from git")


def test_an_edited_baseline_does_not_match_its_hash(two):
    text = two.baseline.read_text()
    two.baseline.write_text(text.replace('"version": "v0002"', '"version": "v0001"'))
    stops(two, "does not match its hash: it was edited")


def test_a_corrupted_baseline_of_the_champion_is_copied_nowhere(two):
    path = two.folder("v0002") / "baseline.json"
    content = Baseline.read(json.loads(path.read_text()))
    content.answers["clean"][:] = 255
    path.write_text(json.dumps(content.to_json()))
    stops(two, "v0002.*baseline.json' is missing or damaged .it is not the one that was promoted")


def test_a_head_that_names_another_record(two):
    baseline = two.known()
    two.baseline.write_text(json.dumps(baseline.at(2, "0" * 64).to_json()))
    stops(two, "record 2 of the log .* one of the two was replaced", (*CHANGES, roll_back))


def of_an_earlier_release(registry):
    """Write champion_baseline.json as releases before this one did."""
    content = registry.known().to_json() | {"schema_version": 1}
    del content["log"], content["baseline_hash"]
    registry.baseline.write_text(json.dumps(content))


def test_a_registry_of_an_earlier_release_is_taken_over_by_repair(two):
    of_an_earlier_release(two)
    stops(two, "written by an earlier release .* `kedro ptq recover`", (*CHANGES, roll_back))
    two.repair()
    assert two.verify() == ["v0001", "v0002"]


def test_a_project_of_an_earlier_release_without_versions_goes_on(registry):
    of_an_earlier_release(registry)
    waive(registry, GRANTED, NOW)
    assert (registry.known().log.records, registry.verify()) == (1, [])


def test_a_pointer_without_a_log(registry):
    registry.root.mkdir()
    registry.pointer.write_text(json.dumps({"version": "v0001", "record_hash": "x"}))
    stops(registry, "names v0001, and the log made no version the champion: restore the log")


def test_a_damaged_intent_is_named(two):
    two.pending.write_text("{")
    stops(two, "pending.json', which names the change .* is damaged")


def test_an_intent_of_another_log_is_named(two):
    content = {"sequence": 9, "record_hash": "x", "version": None}
    two.pending.write_text(json.dumps(content))
    stops(two, "is about record 9, and the log ends with record 2", CHANGES[:-1])


def test_no_folder_is_undone_that_is_not_the_one_of_the_intent(two):
    from ptq_pipeline.registry.records import Change

    shutil.copytree(two.folder("v0002"), two.folder("v0003"))
    change = Change(sequence=3, record_hash="0" * 64, version="v0003")
    two.pending.write_text(json.dumps(change.to_json()))
    with pytest.raises(VerificationError, match="v0003' is not what .*pending.json' says"):
        release(two, *third(), terms())
    assert (two.folder("v0003") / "model.bin").is_file()


def test_an_edited_file_is_found_by_its_hash_and_with_a_new_hash_by_the_registry(two):
    read = BaselineDataset(str(two.baseline), str(two.root))
    assert read.load().version == "v0002"
    served = two.known()
    served.answers["clean"][:] = 255
    honest = two.baseline.read_text()
    forged = json.dumps(served.to_json())
    two.baseline.write_text(forged.replace(served.hash, json.loads(honest)["baseline_hash"]))
    with pytest.raises(DatasetError, match="does not match its hash"):
        BaselineDataset(str(two.baseline)).load()
    two.baseline.write_text(forged)
    assert BaselineDataset(str(two.baseline)).load().answers["clean"][0] == 255
    with pytest.raises(DatasetError, match="is not what the champion's own baseline"):
        read.load()
    two.baseline.write_text(honest)
    assert read.load().version == "v0002"
