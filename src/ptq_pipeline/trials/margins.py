"""How sure the float model is of every evaluated image, found in the pass that answers them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from ptq_pipeline.core.files import replacing
from ptq_pipeline.trials.audit import Audit
from ptq_pipeline.trials.execution import TrialRunner

if TYPE_CHECKING:
    from ptq_pipeline.runtimes import Predictor


class _Recorder:
    """A predictor that keeps the distance of the two largest logits, in the order of its calls."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self.margins: list[np.ndarray] = []

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """Return logits, float32 ``(n, classes)``."""
        logits = self._predictor(batch)
        largest = np.partition(logits, -2, axis=1)[:, -2:]
        self.margins.append(largest[:, 1] - largest[:, 0])
        return logits


def float_margins(audit: Audit, runner: TrialRunner) -> dict[str, np.ndarray]:
    """Return the float model's logit margins, float32 ``(N,)`` of the evaluated samples per shift.

    The answers of the same pass are kept as the float model's trial, if they are not there yet.
    Margins are rounded, so that what follows from their order is the same on any processor.
    """
    from safetensors.numpy import load_file, save_file

    spec = runner.spec(None, audit.evaluation)
    path = runner.store.root / "margins" / f"{spec.stored_as}.safetensors"
    if path.is_file() and runner.store.get(spec) is not None:
        return dict(load_file(path))
    predictor = runner.workload.runtime.compile(runner.workload.prepared, None)
    found = {shift: _answer(audit, runner, predictor, shift) for shift in audit.evaluation.arrays}
    audit.evaluation.require_unchanged()
    if runner.store.get(spec) is None:
        runner.store.put(spec, {shift: each[0] for shift, each in found.items()})
    margins = {shift: each[1] for shift, each in found.items()}
    with replacing(path) as scratch:
        save_file(margins, scratch)
    return margins


def _answer(
    audit: Audit, runner: TrialRunner, predictor: Predictor, shift: str
) -> tuple[np.ndarray, np.ndarray]:
    from ptq_pipeline.runtimes import streams_of

    streams = streams_of(predictor)
    parts = np.array_split(np.arange(len(audit.evaluation.samples)), streams)
    recorders = [_Recorder(predictor) for _ in parts]
    workload, evaluation = runner.workload, audit.evaluation

    def answer(recorder: _Recorder, part: np.ndarray) -> np.ndarray:
        return workload.predict(recorder, evaluation, shift, part)

    with ThreadPoolExecutor(streams, thread_name_prefix="stream") as threads:
        answers = list(threads.map(answer, recorders, parts))
    margins = np.concatenate([each for one in recorders for each in one.margins])
    return np.concatenate(answers), np.round(margins, 3).astype(np.float32)
