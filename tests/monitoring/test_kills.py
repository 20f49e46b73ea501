"""The watch killed at random instants: nothing is torn, lost, counted twice or left behind."""

import json
import os
import random
import signal
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
from tests.monitoring.test_windows import deliver, noise

from ptq_pipeline.core.group_ids import GroupDefinitions
from ptq_pipeline.datasets import (
    DocumentDataset,
    GrowingDirectory,
    ProductionArrivalsDataset,
)
from ptq_pipeline.images.audit_data import AuditData
from ptq_pipeline.monitoring.audited import Audited
from ptq_pipeline.monitoring.history import Measured
from ptq_pipeline.monitoring.parameters import MonitoringParameters, TriggerRules
from ptq_pipeline.monitoring.trigger import TriggerState
from ptq_pipeline.pipelines.monitoring.nodes import accept_arrivals, record_decisions

KILLS = 30
HISTORY = "ptq_pipeline.monitoring.history.WindowHistory"
STATE = "ptq_pipeline.monitoring.trigger.TriggerState"
NOW = datetime(2027, 1, 1, tzinfo=UTC)


class Model:
    classes = ("boot", "bag")


def tick(root):
    """What one call reads and writes, in the order of its pipeline; drift is an even name."""
    arrivals = ProductionArrivalsDataset("production", str(root / "arrivals.json"))
    history, state = (
        DocumentDataset(filepath=str(root / f"{name}.json"), document=kind, optional=True)
        for name, kind in (("windows", HISTORY), ("s", STATE))
    )
    images = np.zeros((1, 1, 8, 8), np.uint8)
    samples = pd.DataFrame({"content_hash": ["0"]})
    definitions = GroupDefinitions(classes=(), segments={})
    audited = Audited(AuditData(samples, images, samples, definitions), Model(), None)
    accepted, decided = accept_arrivals(
        arrivals.load(), history.load(), audited, MonitoringParameters()
    )
    found = {name: Measured(drifted=int(name[1:]) % 2 == 0) for name in accepted}
    pages = {f"{name}.html": b"x" * 100_000 for name in accepted}
    GrowingDirectory(str(root / "pages")).save(pages)
    history.save(record_decisions(history.load(), decided, found))
    arrivals.confirm()
    seen = history.load().telling
    rules = TriggerRules(minimum_samples=1, cooldown_hours=0)
    known = state.load() or TriggerState()
    state.save(known.advanced(seen, rules, NOW)[0])


def test_random_kills_tear_nothing_and_the_next_call_cleans_up(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # No window is to blame for these deaths.
    monkeypatch.setattr("ptq_pipeline.datasets.production.MOST_DEATHS", KILLS)
    rng, honest, killed = random.Random(0), Path("honest"), Path("killed")
    span, ended = 0.1, {True: 0, False: 0}
    for number in range(KILLS):
        deliver(Path("production"), f"w{number:03d}", noise(20, number))
        if number % 5 == 3:
            path = Path(f"production/w{number:03d}/images-idx3-ubyte.gz")
            path.write_bytes(path.read_bytes()[:50])
        tick(honest)
        child = os.fork()
        if child == 0:
            tick(killed)
            os._exit(0)
        time.sleep(rng.uniform(0, span))
        os.kill(child, signal.SIGKILL)
        died = os.waitpid(child, 0)[1] == signal.SIGKILL
        ended[died] += 1
        # However busy the machine is, kills fall within calls and after them.
        span *= 1.25 if died else 0.8
        for path in killed.glob("*.json"):
            json.loads(path.read_text())
    tick(killed)
    for name in ("windows.json", "arrivals.json"):
        assert (killed / name).read_bytes() == (honest / name).read_bytes(), name
    assert min(ended.values()) > 2, ended
    assert [path.name for path in killed.rglob("*") if path.name.endswith(".tmp")] == []
