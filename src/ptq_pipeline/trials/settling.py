"""A recipe's verdict from no more images and draws than it needs.

Draws come in their order, images in a random order that the audit set fixes. After every few
images each draw is held against what the full audit would show (`reliability.settling`); it stops
when that is settled, and the study stops when the recipe's verdict is. One bad group makes a bad
draw, so groups that look bad, or were bad in the draw before, are looked at ahead of the others.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ptq_pipeline.errors import PtqPipelineError
from ptq_pipeline.reliability import Groups
from ptq_pipeline.reliability.anytime import fail_budget, failing_draw
from ptq_pipeline.reliability.cells import Cells, unjudged_groups
from ptq_pipeline.reliability.draws import DrawSplit, split_budget
from ptq_pipeline.reliability.policy import GroupKey, Policy
from ptq_pipeline.reliability.recipe import Draws
from ptq_pipeline.reliability.settling import DrawTracker, SettlingLevels, shown_bad
from ptq_pipeline.reliability.stopping import planned_cells
from ptq_pipeline.trials.evaluation import Evaluation
from ptq_pipeline.trials.execution import TrialRunner

# Answers of one model: (shift, positions in the audit) -> top-1 classes.
Answer = Callable[[str, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class SettledDraw:
    """What was settled about one draw.

    Attributes:
        set_id: its calibration set.
        state: ``good`` or ``bad`` as the full audit would show it, ``open`` for neither, ``failed``
            when it could not be quantized, which counts as bad.
        images: images evaluated, over all shifts.
    """

    set_id: str
    state: str
    images: int


@dataclass(frozen=True)
class SettledVerdict:
    """The recipe's verdict, and what it took.

    Attributes:
        result: PASS, FAIL or INCONCLUSIVE.
        draws: what was looked at, in order.
        failed_after_draws: draws after which FAIL was declared, or None.
        wanted_draws: the preset number of draws.
        images: images evaluated by quantized models.
        full_images: what the full audit of the preset draws would evaluate.
        delta: probability, at most, that the full audit says anything else than PASS or FAIL here.
    """

    result: str
    draws: tuple[SettledDraw, ...]
    failed_after_draws: int | None
    wanted_draws: int
    images: int
    full_images: int
    delta: float

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        states = [draw.state for draw in self.draws]
        return {
            "schema_version": 1,
            "result": self.result,
            "draws": [vars(draw) for draw in self.draws],
            "good": states.count("good"),
            "bad": states.count("bad") + states.count("failed"),
            "failed_after_draws": self.failed_after_draws,
            "wanted_draws": self.wanted_draws,
            "images": self.images,
            "full_images": self.full_images,
            "delta": self.delta,
            "statement": (
                f"{self.result} after {len(self.draws)} of {self.wanted_draws} draws and "
                f"{self.images} of {self.full_images} answers. The full audit says the same "
                f"unless an event of probability {self.delta:g} has happened."
                if self.result != "INCONCLUSIVE"
                else f"INCONCLUSIVE after {len(self.draws)} of {self.wanted_draws} draws: run "
                "the full audit."
            ),
        }


@dataclass(frozen=True)
class Study:
    """What settles: cells, budgets and the order of images.

    Attributes:
        whole: selection and audit samples, as full trials are kept.
        evaluation: the audit samples.
        groups: groups of all evaluated samples.
        policy: limits and errors.
        cells: groups under shifts.
        split: budget of PASS.
        blocked: whether a critical group is not judged, so that PASS is impossible.
        delta: error of looking early.
        chunk: images per shift between two looks.
    """

    whole: Evaluation
    evaluation: Evaluation
    groups: Groups
    policy: Policy
    cells: Cells
    split: DrawSplit
    blocked: bool
    delta: float = 0.001
    chunk: int = 500

    @classmethod
    def of(
        cls,
        evaluation: Evaluation,
        groups: Groups,
        policy: Policy,
        draws: int,
        clustered: frozenset[GroupKey] = frozenset(),
        delta: float = 0.001,
        chunk: int = 500,
        only: Collection[GroupKey] = (),
    ) -> "Study":
        """Fix cells and budgets from counts alone.

        Args:
            evaluation: selection and audit samples.
            groups: groups of the selection and audit samples.
            policy: limits and errors.
            draws: distinct draws of the full audit.
            clustered: groups that hold several samples of one cluster.
            delta: error of looking early.
            chunk: images per shift between two looks.
            only: the groups to judge; all of them when empty.
        """
        audit = evaluation.only((evaluation.samples["split"] == "audit").to_numpy())
        split = split_budget(max(draws, 1), policy.p0, policy.alpha)
        cells = planned_cells(groups, list(audit.arrays), policy, split, clustered, only)
        unjudged = unjudged_groups(cells, policy, split.alpha_image)
        blocked = any(group.critical for group in unjudged)
        return cls(evaluation, audit, groups, policy, cells, split, blocked, delta, chunk)

    @property
    def order(self) -> np.ndarray:
        """Positions of the audit samples in a random order that only they decide."""
        seed = int(self.evaluation.fingerprint[:16], 16)
        return np.random.default_rng(seed).permutation(len(self.evaluation.samples))

    def cells_of(self, shift: str) -> list[np.ndarray]:
        """Return, per partition, the cell of each audit sample, -1 for none."""
        position = {
            key: i
            for i, key in enumerate(
                zip(self.cells.shift, self.cells.level, self.cells.group, strict=True)
            )
        }
        audit = np.isin(self.groups.sample_ids, self.evaluation.samples["sample_id"].to_numpy())
        found = []
        for partition in self.groups.partitions:
            numbers = np.array(
                [position.get((shift, partition.level, g), -1) for g in partition.groups]
            )
            codes = partition.codes[audit]
            found.append(np.where(codes < 0, -1, numbers[codes]))
        return found


def settle(
    study: Study,
    runner: TrialRunner,
    draws: Draws,
    images: Mapping[str, np.ndarray],
    watch: Callable[[Any], Any] = iter,
) -> SettledVerdict:
    """Look at draws until the recipe's verdict is settled.

    Args:
        study: what is judged.
        runner: quantizes and executes.
        draws: the distinct accepted draws, in their order.
        images: uint8 calibration images by id of the set.
        watch: passes the sets on, for example to show progress.

    Returns:
        The verdict of the recipe. It says nothing of a candidate: that needs the full evaluation.
    """
    reference = _Known(study, answers(runner, study, None, np.empty(0)))
    budget = fail_budget(study.policy.p0, study.policy.alpha_fail)
    levels = SettlingLevels.of(
        *(study.split.alpha_image, budget.alpha_images, study.delta),
        *(len(draws.table), int(study.cells.judged.sum())),
    )
    preset = draws.table["preset"].to_numpy(dtype=bool)
    found: list[SettledDraw] = []
    suspects: list[int] = []
    result, failed_at = "INCONCLUSIVE", None
    for set_id in watch(list(draws.table["set_id"])):
        try:
            answer = answers(runner, study, set_id, np.asarray(images[set_id]))
        except PtqPipelineError:
            found.append(SettledDraw(set_id, "failed", 0))
        else:
            draw = _Draw(study, levels, _Known(study, answer), reference)
            state = draw.settle(suspects)
            found.append(SettledDraw(set_id, state, draw.known.evaluated))
            suspects = draw.bad_cells or suspects
        bad = [draw.state in ("bad", "failed") for draw in found]
        good = np.array([draw.state == "good" for draw in found])
        failed_at = failing_draw(bad, budget)
        if failed_at is not None:
            result = "FAIL"
            break
        lost = int((~good & preset[: len(found)]).sum())
        possible = study.split.pass_possible and lost <= study.split.allowed and not study.blocked
        complete = draws.accepted >= study.policy.draws and len(found) >= preset.sum()
        if possible and complete:
            result = "PASS"
            break
        hopeful = bad + [True] * (len(draws.table) - len(found))
        if not possible and failing_draw(hopeful, budget) is None:
            break
    per_draw = len(study.evaluation.samples) * len(study.evaluation.arrays)
    return SettledVerdict(
        *(result, tuple(found), failed_at, study.policy.draws),
        *(sum(draw.images for draw in found), per_draw * study.policy.draws, study.delta),
    )


class _Known:
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
    from ptq_pipeline.runtimes import predict_top1

    evaluation = study.evaluation
    stored = runner.store.get(runner.spec(set_id, study.whole))
    if stored is not None:
        audit = np.flatnonzero((study.whole.samples["split"] == "audit").to_numpy())
        return lambda shift, positions: stored[shift][audit[positions]]
    workload = runner.workload
    parameters = None if set_id is None else runner.quantize(set_id, images)
    predictor = workload.runtime.compile(workload.prepared, parameters)

    def answer(shift: str, positions: np.ndarray) -> np.ndarray:
        return predict_top1(
            predictor,
            evaluation.arrays[shift],
            workload.model.preprocessing,
            batch_size=workload.batch_size,
            rows=evaluation.rows[shift][positions],
        )

    return answer


class _Draw:
    """One draw that is looked at until it is settled.

    Attributes:
        known: its model's right answers.
        bad_cells: the cell that was shown bad ahead of the others, if one was.
    """

    def __init__(
        self, study: Study, levels: SettlingLevels, known: _Known, reference: _Known
    ) -> None:
        self.study, self.levels = study, levels
        self.known, self.reference = known, reference
        self.tracker = DrawTracker(study.cells, levels)
        self.queues = {shift: _Queue(study, shift) for shift in study.evaluation.arrays}
        self.bad_cells: list[int] = []
        self._looked_at: set[int] = set()

    def settle(self, suspects: Sequence[int]) -> str:
        """Return ``good``, ``bad`` or ``open``.

        Args:
            suspects: cells to look at first.
        """
        if any(self._is_bad(cell) for cell in suspects):
            return "bad"
        while self.tracker.state == "running":
            taken = 0
            for shift, queue in self.queues.items():
                chosen = queue.take(self.tracker.needed, self.study.chunk)
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
        cells, shift = self.study.cells, self.study.cells.shift[cell]
        members = self.queues[shift].members(cell)
        seen = lost = gained = 0
        found: bool | None = None
        for start in range(0, len(members), self.study.chunk):
            chosen = members[start : start + self.study.chunk]
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
