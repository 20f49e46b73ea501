"""Killed at any instant, or out of disk at any write: the champion is the old or the new one."""

import errno
import json
import os
import random
import signal
import time

import pytest
from tests.registry.conftest import GRANTED, NOW, against, candidate, release, terms

from ptq_pipeline.judgement.decision import Decision
from ptq_pipeline.registry.records import RegistryError
from ptq_pipeline.registry.release import rollback, waive

KILLS = 25  # in each of eight registries, so that their logs stay short


def check(registry, allowed):
    """What serves is one of `allowed`, complete, and everything that is recorded holds."""
    champion = registry.champion()
    version = champion.version if champion else None
    assert version in allowed
    registry.verify()
    if champion:
        assert (champion.folder / "model.bin").is_file()
        assert (champion.folder / "decision.json").is_file()
    return version


@pytest.mark.parametrize(
    "seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 8))]
)
def test_hundreds_of_random_kills_leave_the_old_champion_or_the_new(registry, seed):
    current, _ = first = candidate("0")
    release(registry, *first, terms())
    rng = random.Random(seed)
    started = time.monotonic()
    release(registry, *candidate("probe", champion=against(current)), terms())
    span = time.monotonic() - started
    rollback(registry, "v0001", by="Kim", now=NOW)
    landed = {True: 0, False: 0}
    for attempt in range(KILLS):
        before = registry.champion().version
        decision, files = candidate(f"k{attempt}", champion=against(current))
        child = os.fork()
        if child == 0:
            try:
                release(registry, decision, files, terms())
            finally:
                os._exit(0)
        time.sleep(rng.uniform(0, span))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        newest = f"v{len(registry.log.read().promotions):04d}"
        version = check(registry, {before, newest})
        landed[version != before] += 1
        # However busy the machine is, kills fall before and after the switch.
        span *= 1.25 if version == before else 0.8
        # The next change finishes what the log says, whatever was left behind.
        with registry.locked() as records:
            after = [record.champion for record in records if record.champion][-1]
        assert check(registry, {after}) == after
        if after != before:
            current = decision
    assert min(landed.values()) > 2, f"kills must fall before and after the switch: {landed}"


def test_kills_of_any_change_tear_nothing_and_leave_nothing(two):
    """Promote, rollback and waive, killed at random instants; the next command cleans up."""
    rng = random.Random(0)
    for attempt in range(60):
        before = len(two.log.read())
        child = os.fork()
        if child == 0:
            try:
                change(two, attempt)
            finally:
                os._exit(0)
        time.sleep(rng.uniform(0, 0.04))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        two.verify()
        with two.locked() as records:
            assert len(records) - before in (0, 1)
        assert temporary(two) == []


def change(registry, attempt):
    """Promote, roll back or waive."""
    champion = registry.champion()
    if attempt % 3 == 0:
        text = (champion.folder / "decision.json").read_text()
        decision = Decision.read(json.loads(text))
        release(registry, *candidate(f"k{attempt}", champion=against(decision)), terms())
    elif attempt % 3 == 1:
        other = next(each for each in registry.versions() if each != champion.version)
        rollback(registry, other, by="Kim", now=NOW)
    else:
        waive(registry, GRANTED, NOW)


def temporary(registry):
    """Names of what is neither a record nor a version nor the lock."""
    paths = [*registry.root.rglob("*"), *registry.baseline.parent.iterdir()]
    names = {path.name for path in paths}
    return sorted(name for name in names if name.endswith(".tmp") or name == "pending.json")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_refuses_at_any_write_changes_no_champion(registry, monkeypatch, code):
    first = candidate("a")
    release(registry, *first, terms())
    second = candidate("b", champion=against(first[0]))
    calls = {"left": 0}

    def failing(name):
        original = getattr(os, name)

        def call(*arguments, **options):
            calls["left"] -= 1
            if calls["left"] == 0:
                raise OSError(code, os.strerror(code), "x")
            return original(*arguments, **options)

        return call

    for failing_call in range(1, 200):
        calls["left"] = failing_call
        with monkeypatch.context() as patch:
            for name in ("fsync", "replace", "link", "rename"):
                patch.setattr(os, name, failing(name))
            try:
                release(registry, *second, terms())
                break
            except RegistryError as error:
                assert f"'{registry.root}' could not be written" in str(error)
                assert "champion keeps serving" in str(error)
        assert check(registry, {"v0001", "v0002"})
    assert failing_call > 10
    assert check(registry, {"v0002"})


def test_the_same_promotion_finishes_what_a_kill_interrupted(registry, monkeypatch):
    given = candidate("a")
    with monkeypatch.context() as patch:
        patch.setattr("ptq_pipeline.registry.store.Store.switch", _killed)
        with pytest.raises(KeyboardInterrupt):
            release(registry, *given, terms())
    assert registry.champion() is None
    assert registry.interrupted(registry.log.read()).champion == "v0001"
    assert release(registry, *given, terms()).champion == "v0001"
    assert registry.champion().version == "v0001"
    assert len(registry.log.read()) == 1


def _killed(*arguments):
    raise KeyboardInterrupt
