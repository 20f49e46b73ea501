"""Whether limits were fixed before outcomes is told by two hash chains, not by a clock."""

import pytest
from tests.registry.conftest import NOW

from ptq_pipeline.core.canonical import canonical_hash
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.registry.freezing import FrozenPolicy, freeze, freezing
from ptq_pipeline.registry.records import Kind

POLICY = {"alpha": 0.05}
HASH = canonical_hash(POLICY)


def record(registry, questions=2, ledger="e2", **changes):
    given = {"policy": POLICY, "policy_hash": HASH, "by": "Jo", "reason": ""} | changes
    return freeze(registry, FrozenPolicy(questions=questions, ledger=ledger, **given), NOW)


@pytest.mark.parametrize(
    ("asked", "entries", "before"),
    [
        (["e3"], ["e1", "e2", "e3"], True),
        (["e2"], ["e1", "e2", "e3"], False),
        (["e2", "e3"], ["e1", "e2", "e3"], False),
        ([], ["e1", "e2"], None),
        (["e3"], ["other", "ledger", "e3"], False),
        (["e1"], ["e1"], False),
    ],
)
def test_questions_that_the_ledger_held_already_were_outcomes(registry, asked, entries, before):
    record(registry)
    assert freezing(registry.records(), HASH, asked, entries)["before_outcomes"] is before


def test_without_a_record_nothing_is_said(registry):
    assert freezing(registry.records(needed=False), HASH, [], []) is None


def test_the_last_one_counts_and_the_same_is_recorded_once(registry):
    first, again = record(registry), record(registry)
    assert first.sequence == again.sequence == 1
    other = {"alpha": 0.01}
    assert record(registry, policy=other, policy_hash=canonical_hash(other)).sequence == 2
    with pytest.raises(InputError, match="is not the one that was frozen on"):
        freezing(registry.records(), HASH, [], [])
    assert [each.kind for each in registry.records()] == [Kind.POLICY, Kind.POLICY]


def test_a_policy_that_does_not_have_its_hash_was_edited(registry):
    record(registry, policy={"alpha": 0.5})
    with pytest.raises(InputError, match="record 1 holds a policy.*edited"):
        freezing(registry.records(), HASH, [], [])


@pytest.mark.parametrize("by", ["", "  ", "a\nb"])
def test_somebody_has_to_freeze_it(registry, by):
    with pytest.raises(InputError):
        record(registry, by=by)
    assert not registry.records(needed=False)
