"""A recipe's verdict from no more images and draws than it needs.

Draws come in their order, images in a random order that the audit set fixes. After every few
images each draw is held against what the full audit would show (`reliability.settling`); it stops
when that is settled, and the study stops when the recipe's verdict is.
"""

from collections.abc import Callable, Collection, Mapping
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
from ptq_pipeline.reliability.settling import DrawState, DrawTracker, SettlingLevels
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
                else f"INCONCLUSIVE after {len(self.draws)} draws: run the full audit."
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
    reference = _Reference(study, runner)
    budget = fail_budget(study.policy.p0, study.policy.alpha_fail)
    levels = SettlingLevels.of(
        *(study.split.alpha_image, budget.alpha_images, study.delta),
        *(len(draws.table), int(study.cells.judged.sum())),
    )
    preset = draws.table["preset"].to_numpy(dtype=bool)
    found: list[SettledDraw] = []
    result, failed_at = "INCONCLUSIVE", None
    for set_id in watch(list(draws.table["set_id"])):
        found.append(_settle_draw(study, levels, runner, reference, set_id, images[set_id]))
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


class _Reference:
    """The float model's right answers, evaluated as far as some draw has needed them."""

    def __init__(self, study: Study, runner: TrialRunner) -> None:
        self.labels = study.evaluation.samples["label"].to_numpy()
        self._answer = answers(runner, study, None, np.empty(0))
        self._right = {s: np.full(len(self.labels), -1, np.int8) for s in study.evaluation.arrays}

    def right(self, shift: str, positions: np.ndarray) -> np.ndarray:
        """Return whether the float model is right, bool ``(len(positions),)``."""
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


def _settle_draw(
    study: Study,
    levels: SettlingLevels,
    runner: TrialRunner,
    reference: _Reference,
    set_id: str,
    images: np.ndarray,
) -> SettledDraw:
    try:
        answer = answers(runner, study, set_id, np.asarray(images))
    except PtqPipelineError:
        return SettledDraw(set_id, "failed", 0)
    tracker = DrawTracker(study.cells, levels)
    left = {shift: _Queue(study, shift) for shift in study.evaluation.arrays}
    evaluated = 0
    state: DrawState = tracker.state
    while state == "running":
        before = evaluated
        for shift, queue in left.items():
            chosen = queue.take(tracker.needed, study.chunk)
            if not len(chosen):
                continue
            evaluated += len(chosen)
            right = answer(shift, chosen) == reference.labels[chosen]
            tracker.update(*queue.count(chosen, reference.right(shift, chosen), right))
            state = tracker.state
            if state != "running":
                break
        if evaluated == before:
            return SettledDraw(set_id, "open", evaluated)
    return SettledDraw(set_id, state, evaluated)


class _Queue:
    """Audit images under one shift that wait in their random order."""

    def __init__(self, study: Study, shift: str) -> None:
        self._waiting = study.order
        self._memberships = study.cells_of(shift)
        self._cells = len(study.cells)

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
