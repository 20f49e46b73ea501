"""One draw that is looked at, a few images at a time, until it is settled."""

from collections.abc import Callable, Sequence

import numpy as np

from ptq_pipeline.judgement.settling import DrawTracker, SettlingLevels, shown_bad
from ptq_pipeline.trials.execution import TrialRunner
from ptq_pipeline.trials.stopping import Study

# Answers of one model: (shift, positions in the audit) -> top-1 classes.
Answer = Callable[[str, np.ndarray], np.ndarray]


class Known:
    """A model's right answers, evaluated as far as they have been needed."""

    def __init__(self, study: Study, answer: Answer) -> None:
        self.labels = study.evaluation.samples["label"].to_numpy()
        self._answer = answer
        self._right = {s: np.full(len(self.labels), -1, np.int8) for s in study.evaluation.arrays}

    @property
    def evaluated(self) -> int:
        """Images answered so far, over all shifts."""
        return sum(int((known >= 0).sum()) for known in self._right.values())

    def right(self, shift: str, positions: np.ndarray) -> np.ndarray:
        """Return whether the model is right, bool ``(len(positions),)``."""
        known = self._right[shift]
        new = positions[known[positions] < 0]
        if len(new):
            known[new] = self._answer(shift, new) == self.labels[new]
        return known[positions].astype(bool)


def answers(runner: TrialRunner, study: Study, set_id: str | None, images: np.ndarray) -> Answer:
    """Return a function that predicts some audit samples; a stored full trial is read instead.

    Args:
        runner: quantizes and executes.
        study: names the samples.
        set_id: id of the calibration set; None for the float model.
        images: its uint8 images; not looked at for the float model.

    Raises:
        PtqPipelineError: the model cannot be quantized with these images.
    """
    evaluation = study.evaluation
    stored = runner.store.get(runner.spec(set_id, study.whole))
    if stored is not None:
        audit = np.flatnonzero((study.whole.samples["split"] == "audit").to_numpy())
        return lambda shift, positions: stored[shift][audit[positions]]
    workload = runner.workload
    parameters = None if set_id is None else runner.quantize(set_id, images)
    predictor = workload.runtime.compile(workload.prepared, parameters)
    return lambda shift, positions: workload.predict(predictor, evaluation, shift, positions)


class Draw:
    """One draw that is looked at until it is settled.

    Attributes:
        known: its model's right answers.
        bad_cells: the cell that was shown bad ahead of the others, if one was.
    """

    def __init__(
        self, study: Study, levels: SettlingLevels, known: Known, reference: Known
    ) -> None:
        self.study, self.levels = study, levels
        self.known, self.reference = known, reference
        self.tracker = DrawTracker(study.cells, levels)
        self.queues = {shift: _Queue(study, shift) for shift in study.evaluation.arrays}
        self.bad_cells: list[int] = []
        self._looked_at: set[int] = set()

    def settle(self, suspects: Sequence[int]) -> str:
        """Return ``good``, ``bad`` or ``open``; ``suspects`` are cells to look at first."""
        if any(self._is_bad(cell) for cell in suspects):
            return "bad"
        while self.tracker.state == "running":
            taken = 0
            for shift, queue in self.queues.items():
                chosen = queue.take(self.tracker.needed, self.study.looks.chunk)
                if not len(chosen):
                    continue
                taken += len(chosen)
                floats = self.reference.right(shift, chosen)
                self.tracker.update(*queue.count(chosen, floats, self.known.right(shift, chosen)))
                if self.tracker.state != "running":
                    break
                new = [c for c in self.tracker.suspicious if c not in self._looked_at]
                if new and self._is_bad(int(new[0])):
                    return "bad"
            if not taken:
                return "open"
        return self.tracker.state

    def _is_bad(self, cell: int) -> bool:
        """Look at all images of one cell, as far as it takes, and at no others."""
        self._looked_at.add(cell)
        cells, shift = self.study.cells, self.study.images_of(cell)
        members = self.queues[shift].members(cell)
        seen = lost = gained = 0
        found: bool | None = None
        for start in range(0, len(members), self.study.looks.chunk):
            chosen = members[start : start + self.study.looks.chunk]
            floats, right = self.reference.right(shift, chosen), self.known.right(shift, chosen)
            seen += len(chosen)
            lost += int((floats & ~right).sum())
            gained += int((~floats & right).sum())
            counts = seen, lost, gained
            found = shown_bad(int(cells.n[cell]), float(cells.limit[cell]), counts, self.levels)
            if found is not None:
                break
        if found:
            self.bad_cells.append(cell)
        return bool(found)


class _Queue:
    """Audit images under one shift that wait in their random order."""

    def __init__(self, study: Study, shift: str) -> None:
        self._order = self._waiting = study.order
        self._memberships = study.cells_of(shift)
        self._cells = len(study.cells)

    def members(self, cell: int) -> np.ndarray:
        """Return the images of one cell in their random order."""
        inside = np.zeros(len(self._order), bool)
        for cells in self._memberships:
            inside |= cells[self._order] == cell
        return self._order[inside]

    def take(self, needed: np.ndarray, count: int) -> np.ndarray:
        """Return the next images of which some cell is needed; the others are passed over."""
        wanted = np.zeros(len(self._waiting), bool)
        for cells in self._memberships:
            of_waiting = cells[self._waiting]
            wanted |= (of_waiting >= 0) & needed[of_waiting]
        places = np.flatnonzero(wanted)[:count]
        chosen = self._waiting[places]
        self._waiting = self._waiting[places[-1] + 1 :] if len(places) else self._waiting[:0]
        return chosen

    def count(
        self, chosen: np.ndarray, float_right: np.ndarray, right: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return seen, lost and gained per cell, int64 ``(cells,)``."""
        every = np.ones(len(chosen), bool)
        return (
            self._by_cell(chosen, every),
            self._by_cell(chosen, float_right & ~right),
            self._by_cell(chosen, ~float_right & right),
        )

    def _by_cell(self, chosen: np.ndarray, counted: np.ndarray) -> np.ndarray:
        found = np.zeros(self._cells, np.int64)
        for cells in self._memberships:
            inside = cells[chosen]
            found += np.bincount(inside[(inside >= 0) & counted], minlength=self._cells)
        return found
