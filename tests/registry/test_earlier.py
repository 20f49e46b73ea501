"""A registry that an earlier release wrote is read with the same hashes, and goes on.

It was killed while it promoted v0003: the record is written, and the pointer did not move.
"""

import json
import shutil
from pathlib import Path

import pytest

from ptq_pipeline.registry.agreement import Registry

EARLIER = Path(__file__).parent / "earlier"
KINDS = ["promotion", "outcome", "waiver", "expiry", "promotion", "rollback", "promotion"]


@pytest.fixture
def earlier(tmp_path):
    shutil.copytree(EARLIER, tmp_path, dirs_exist_ok=True)
    return Registry(tmp_path / "registry", tmp_path / "champion_baseline.json")


def test_records_of_an_earlier_release_are_read_and_written_again_as_they_were(earlier):
    records = earlier.log.read()
    assert [str(record.kind) for record in records] == KINDS
    for record in records:
        assert record.to_json() == json.loads(earlier.log.path(record.sequence).read_text())
    assert earlier.records() == records
    assert earlier.champion().version == "v0001"


def test_its_versions_keep_verifying_and_its_interrupted_change_is_finished(earlier):
    assert earlier.verify() == ["v0001", "v0002", "v0003"]
    assert earlier.repair() == ["a change that was interrupted is finished or undone"]
    assert (earlier.champion().version, earlier.known().version) == ("v0003", "v0003")
    assert earlier.verify() == ["v0001", "v0002", "v0003"]
