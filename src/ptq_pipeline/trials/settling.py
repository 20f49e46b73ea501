"""A recipe's verdict from no more images and draws than it needs.

Draws come in their order, images in a random order that the audit set fixes. After every few
images each draw is held against what the full audit would show (`judgement.settling`); it stops
when that is settled, and the study stops when the recipe's verdict is. One bad group makes a bad
draw, so groups that look bad, or were bad in the draw before, are looked at ahead of the others.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, computed_field
from scipy import sparse

from ptq_pipeline.core.documents import Document
from ptq_pipeline.core.errors import InputError, PtqPipelineError
from ptq_pipeline.core.names import CLEAN
from ptq_pipeline.judgement.sentences import Result
from ptq_pipeline.judgement.settling import DrawTracker, SettlingLevels, shown_bad
from ptq_pipeline.judgement.stopping import DrawState, Scope, Study
from ptq_pipeline.trials.audit import Audit
from ptq_pipeline.trials.evaluation import Evaluation
from ptq_pipeline.trials.execution import TrialRunner

# Answers of one model: (shift, positions in the audit) -> top-1 classes.
Answer = Callable[[str, np.ndarray], np.ndarray]


class SettlingParameters(BaseModel):
    """How early looks are paid for: the parameters of ``settling``.

    Attributes:
        delta: probability, at most, of a PASS or FAIL that the full audit would not give.
        chunk: images per shift between two looks.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    delta: float = Field(default=0.001, gt=0, lt=0.1)
    chunk: int = Field(default=500, ge=1)


class SettledDraw(Document):
    """What was settled about one draw.

    Attributes:
        set_id: its calibration set.
        state: ``good`` or ``bad`` as the full audit would show it, ``open`` for neither, ``failed``
            when it could not be quantized, which counts as bad.
        images: images evaluated, over all shifts.
    """

    set_id: str
    state: DrawState
    images: int


class SettledVerdict(Document):
    """The recipe's verdict and what it took, ``settled_verdict.json``.

    Attributes:
        draws: what was looked at, in order.
        failed_after_draws: draws after which FAIL was declared, or None.
        wanted_draws: the preset number of draws.
        images: images evaluated by quantized models.
        full_images: what the full audit of the preset draws would evaluate.
        delta: probability, at most, that the full audit says anything else than PASS or FAIL here.
    """

    schema_version: int = 1
    result: Result
    draws: tuple[SettledDraw, ...]
    good: int
    bad: int
    failed_after_draws: int | None
    wanted_draws: int
    images: int
    full_images: int
    delta: float

    @classmethod
    def of(
        cls, study: Study, draws: Sequence[SettledDraw], result: Result, full: int, *, delta: float
    ) -> Self:
        """Say what a study has found by these draws; the full audit of one is ``full`` images."""
        return cls(
            result=result,
            draws=tuple(draws),
            good=study.states.count("good"),
            bad=study.states.count("bad") + study.states.count("failed"),
            failed_after_draws=study.failed_after,
            wanted_draws=study.scope.policy.draws,
            images=sum(draw.images for draw in draws),
            full_images=full * study.scope.policy.draws,
            delta=delta,
        )

    @computed_field  # type: ignore[prop-decorator]
    @property
    def statement(self) -> str:
        """The verdict in a sentence."""
        seen = f"{self.result} after {len(self.draws)} of {self.wanted_draws} draws"
        if self.result == "INCONCLUSIVE":
            return f"{seen}: run the full audit."
        return (
            f"{seen} and {self.images} of {self.full_images} answers. The full audit says the same "
            f"unless an event of probability {self.delta:g} has happened."
        )


def settle(
    audit: Audit,
    scope: Scope,
    sets: Mapping[str, np.ndarray],
    looks: SettlingParameters,
    watch: Callable[[Sequence[str]], Iterable[str]] = iter,
) -> SettledVerdict:
    """Look at draws until the recipe's verdict is settled.

    It says what the full evaluation will show, also where policy samples, and nothing of a
    candidate.

    Args:
        audit: what the trials share.
        scope: what is judged.
        sets: uint8 calibration images by id.
        looks: how early looks are paid for.
        watch: passes the ids on, for example to show progress.
    """
    if audit.model.task.finds_objects:
        raise InputError(
            "settling looks at single images, and what is judged of a detector are objects; run "
            "the pipeline 'quantization' for all of them"
        )
    scope = _in_full(scope)
    runner, evaluation = audit.runner(), audit.evaluation.of("audit")
    reference = audit.float_reference(runner)
    first = str(scope.draws.table["set_id"].iloc[0])
    spec = runner.spec(first, audit.evaluation).to_json()
    study = Study(scope, list(audit.shifts.root), reference, spec)
    shown = _Shown.of(study, evaluation, looks)
    floats = _Known(evaluation, _answers(runner, audit, None))
    found, suspects = list[SettledDraw](), list[int]()
    result: Result | None = None
    for set_id in watch(list(scope.draws.table["set_id"])):
        try:
            known = _Known(evaluation, _answers(runner, audit, set_id, sets[set_id]))
        except PtqPipelineError:
            found.append(SettledDraw(set_id=set_id, state="failed", images=0))
        else:
            draw = _Draw(shown, known, floats)
            state = draw.settle(suspects)
            found.append(SettledDraw(set_id=set_id, state=state, images=known.evaluated))
            suspects = draw.bad_cells or suspects
        if (result := study.add(found[-1].state)) is not None:
            break
    full = len(evaluation.samples) * len(evaluation.arrays)
    return SettledVerdict.of(study, found, result or "INCONCLUSIVE", full, delta=looks.delta)


def _in_full(scope: Scope) -> Scope:
    return replace(scope, policy=scope.policy.model_copy(update={"evaluation": "full"}))


def _answers(
    runner: TrialRunner, audit: Audit, set_id: str | None, images: np.ndarray | None = None
) -> Answer:
    """Return a function that predicts some audit samples; a stored full trial is read instead.

    Raises:
        PtqPipelineError: the model cannot be quantized with these images.
    """
    audited = np.flatnonzero((audit.evaluation.samples["split"] == "audit").to_numpy())
    stored = runner.store.get(runner.spec(set_id, audit.evaluation))
    if stored is not None and (known := stored.predictions) is not None:
        return lambda shift, positions: known[shift][audited[positions]]
    workload = runner.workload
    parameters = None
    if set_id is not None:
        parameters = runner.quantize(set_id, np.asarray(images))
    predictor = workload.runtime.compile(workload.prepared, parameters)
    return lambda shift, positions: workload.predict(
        predictor, audit.evaluation, shift, audited[positions]
    )


class _Known:
    """A model's right answers, evaluated as far as they have been needed."""

    def __init__(self, evaluation: Evaluation, answer: Answer) -> None:
        self.labels = evaluation.samples["label"].to_numpy()
        self._answer = answer
        self._right = {s: np.full(len(self.labels), -1, np.int8) for s in evaluation.arrays}

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


@dataclass(frozen=True, eq=False)
class _Shown:
    """What all draws are looked at by.

    Attributes:
        members: by shift, which audit samples are in which cell, bool ``(cells, samples)``.
        order: positions of the audit samples in a random order that only they decide.
    """

    study: Study
    levels: SettlingLevels
    members: Mapping[str, sparse.csr_array]
    order: np.ndarray
    chunk: int

    @classmethod
    def of(cls, study: Study, evaluation: Evaluation, looks: SettlingParameters) -> "_Shown":
        """Divide ``delta``, find the members of cells, and draw the order."""
        alpha_image = study.question.split.alpha_image
        alpha_images = study.question.budget.alpha_images
        draws = len(study.scope.draws.table)
        levels = SettlingLevels.of(alpha_image, alpha_images, looks.delta, draws, study.cells)
        ids = evaluation.samples["sample_id"].to_numpy()
        members = {shift: study.members(shift, ids) for shift in evaluation.arrays}
        order = np.random.default_rng(int(evaluation.fingerprint[:16], 16)).permutation(len(ids))
        return cls(study, levels, members, order, looks.chunk)

    def images_of(self, cell: int) -> str:
        """Return the shift whose images a cell is seen on."""
        shift = self.study.cells.keys[cell].shift
        return CLEAN if shift in self.study.scope.groups.conditions else shift


class _Draw:
    """One draw that is looked at, a few images at a time, until it is settled.

    Attributes:
        bad_cells: the cell that was shown bad ahead of the others, if one was.
    """

    def __init__(self, shown: _Shown, known: _Known, reference: _Known) -> None:
        self.shown, self.known, self.reference = shown, known, reference
        self.tracker = DrawTracker(shown.study.cells, shown.levels)
        self.waiting = dict.fromkeys(shown.members, shown.order)
        self.bad_cells: list[int] = []
        self._looked_at: set[int] = set()

    def settle(self, suspects: Sequence[int]) -> DrawState:
        """Return the draw's state; ``suspects`` are cells to look at first."""
        if any(self._is_bad(cell) for cell in suspects):
            return "bad"
        while (state := self.tracker.state) == "running":
            taken = 0
            for shift, members in self.shown.members.items():
                chosen = self._next(shift)
                if not len(chosen):
                    continue
                taken += len(chosen)
                inside = members[:, chosen]
                self.tracker.update(*(inside @ each for each in self._outcomes(shift, chosen)))
                if self.tracker.state != "running":
                    break
                new = [c for c in self.tracker.suspicious if c not in self._looked_at]
                if new and self._is_bad(int(new[0])):
                    return "bad"
            if not taken:
                return "open"
        return state

    def _next(self, shift: str) -> np.ndarray:
        """Take the next images of which some cell is needed; the others are passed over."""
        waiting = self.waiting[shift]
        wanted = self.tracker.needed.astype(np.int64) @ self.shown.members[shift] > 0
        places = np.flatnonzero(wanted[waiting])[: self.shown.chunk]
        self.waiting[shift] = waiting[places[-1] + 1 :] if len(places) else waiting[:0]
        return waiting[places]

    def _outcomes(self, shift: str, chosen: np.ndarray) -> np.ndarray:
        """Return which images are seen (all), lost and gained, int64 ``(3, len(chosen))``."""
        floats, right = self.reference.right(shift, chosen), self.known.right(shift, chosen)
        return np.stack([np.ones_like(right), floats & ~right, ~floats & right]).astype(np.int64)

    def _is_bad(self, cell: int) -> bool:
        """Look at all images of one cell, as far as it takes, and at no others."""
        self._looked_at.add(cell)
        cells, shift, chunk = self.shown.study.cells, self.shown.images_of(cell), self.shown.chunk
        inside = np.zeros(len(self.shown.order), bool)
        inside[self.shown.members[shift][[cell]].indices] = True
        images = self.shown.order[inside[self.shown.order]]
        n, limit, counts = int(cells.n[cell]), float(cells.limit[cell]), np.zeros(3, np.int64)
        for start in range(0, len(images), chunk):
            counts += self._outcomes(shift, images[start : start + chunk]).sum(axis=1)
            seen, lost, gained = counts.tolist()
            found = shown_bad(n, limit, (seen, lost, gained), self.shown.levels)
            if found:
                self.bad_cells.append(cell)
            if found is not None:
                return found
        return False
