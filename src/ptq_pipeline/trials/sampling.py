"""A recipe's draws for the price of a few: the first in full, of every other one a sample.

What is looked at, and what follows, says `judgement.sampling`; here the images are evaluated. Draws
come in their order, in this process: while one is evaluated, the next is quantized and compiled.
"""

import logging
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from ptq_pipeline.core.errors import InputError, PtqPipelineError
from ptq_pipeline.judgement.sampling import (
    SMALL_MARGINS,
    KnownAnswers,
    SampledCells,
    judge_by_sample,
    judge_in_full,
)
from ptq_pipeline.judgement.stopping import DrawState, Scope, Study
from ptq_pipeline.trials.audit import Audit
from ptq_pipeline.trials.execution import TrialRequest
from ptq_pipeline.trials.margins import float_margins
from ptq_pipeline.trials.trial import TrialOutcome, TrialSpec

log = logging.getLogger(__name__)

NO_ANSWER = -1
# The sample's seed is the method's with this beside it.
SAMPLE_SEED = 0x5A
# Groups that were bad in the draw before and are looked at, one by one, ahead of the others.
MOST_SUSPECTS = 4


@dataclass(frozen=True)
class JudgedDraw:
    """What was found out about one draw.

    Attributes:
        outcome: of its trial; a sampled one has no answer, -1, where it was not looked at.
        state: what it shows.
        answers: audit images evaluated, over all shifts.
        sampled: whether it was evaluated in part.
    """

    outcome: TrialOutcome
    state: DrawState
    answers: int
    sampled: bool


@dataclass(frozen=True)
class _Source:
    """Where a draw's answers come from: its trial in the store, or its model; or why there is none.

    ``answer`` gives top-1 classes, int32, of evaluated samples under a shift.
    """

    answer: Callable[[str, np.ndarray], np.ndarray] | None = None
    notes: tuple[str, ...] = ()
    error: str = ""
    kept: bool = False


class SampledRun:
    """The draws of one recipe under a policy that samples.

    Args:
        audit: what the trials share.
        scope: what is judged.

    Raises:
        InputError: the policy evaluates in full.
    """

    def __init__(self, audit: Audit, scope: Scope) -> None:
        if scope.policy.evaluation != "sampled":
            raise InputError(
                "draws are sampled only where worst_case_check.evaluation is 'sampled'; set it, or "
                "run the pipeline 'quantization', which evaluates them in full"
            )
        self.scope, self.evaluation, self.runner = scope, audit.evaluation, audit.runner()
        samples, shifts = self.evaluation.samples, list(audit.shifts.root)
        self.audited = np.flatnonzero((samples["split"] == "audit").to_numpy())
        self.labels = samples["label"].to_numpy()[self.audited]
        margins = float_margins(audit, self.runner)
        self.reference = audit.float_reference(self.runner)
        floats = self.reference.groupby("shift", observed=True)["predicted"]
        self.floats = {s: floats.get_group(s).to_numpy()[self.audited] for s in shifts}
        first = str(scope.draws.table["set_id"].iloc[0])
        spec = self.runner.spec(first, self.evaluation).to_json()
        self.study = Study(scope, shifts, self.reference, spec)
        ids = samples["sample_id"].to_numpy()[self.audited]
        self.cells = SampledCells.of(self.study, shifts, ids)
        least = int(np.ceil(SMALL_MARGINS * len(ids)))
        order = {s: np.argsort(margins[s][self.audited], kind="stable") for s in shifts}
        self.risky = {s: np.isin(np.arange(len(ids)), order[s][:least]) for s in shifts}
        self.suspects = np.zeros(0, np.int64)

    @property
    def answers_of_a_draw(self) -> int:
        """Audit answers of one draw in full."""
        return len(self.audited) * len(self.risky)

    def draws(self, sets: Mapping[str, np.ndarray]) -> Iterator[JudgedDraw]:
        """Evaluate draw after draw until the recipe is refused; ``sets`` are uint8 images by id."""
        ids = list(self.scope.draws.table["set_id"])
        full = self.scope.policy.sampling.full
        first = [TrialRequest(each, sets[each], self.evaluation) for each in ids[:full]]
        for outcome in self.runner.run_all(first):
            found = self._in_full(outcome)
            yield found
            if self.study.add(found.state) == "FAIL":
                return
        with closing(self._sampled(ids[full:], sets)) as others:
            for found in others:
                yield found
                if self.study.add(found.state) == "FAIL":
                    return

    def _in_full(self, outcome: TrialOutcome) -> JudgedDraw:
        predicted = outcome.predictions
        if predicted is None:
            return JudgedDraw(outcome, "failed", 0, sampled=False)
        draw = self._known(lambda shift, rows: predicted[shift][rows])
        state = judge_in_full(self.cells, draw)
        for shift, answers in predicted.items():
            self.risky[shift] |= answers[self.audited] != self.floats[shift]
        if state == "bad":
            self._suspect(draw)
        return JudgedDraw(outcome, state, draw.count, sampled=False)

    def _suspect(self, draw: KnownAnswers) -> None:
        """What is bad in one draw is looked at first in the next: the smallest of its bad cells."""
        if len(bad := self.cells.bad_cells(draw)):
            order = np.argsort(self.cells.cells.n[bad], kind="stable")
            self.suspects = bad[order][:MOST_SUSPECTS]

    def _sampled(
        self, ids: Sequence[str], sets: Mapping[str, np.ndarray]
    ) -> Generator[JudgedDraw, None, None]:
        """Yield sampled draws, the next one in the making while one is looked at."""
        with ThreadPoolExecutor(1, thread_name_prefix="prepare") as thread:
            coming: Future[_Source | None] | None = None
            for place, set_id in enumerate(ids):
                ahead = None if coming is None else coming.result()
                coming = None
                for after in ids[place + 1 : place + 2]:
                    if self.runner.workload.is_quick(self._spec(after)):
                        coming = thread.submit(self._unless_kept, after, sets[after])
                spec = self._spec(set_id)
                source = self._kept(spec) or ahead or self._made(set_id, sets[set_id])
                yield self._by_sample(spec, source)

    def _by_sample(self, spec: TrialSpec, source: _Source) -> JudgedDraw:
        error = source.error
        if source.answer is not None:
            try:
                return self._looked_at(spec, source, source.answer)
            except PtqPipelineError as refused:
                error = str(refused)
        log.warning("a draw with calibration set %s failed: %s", spec.calibration_set, error)
        return JudgedDraw(TrialOutcome(spec, None, error), "failed", 0, sampled=False)

    def _looked_at(
        self, spec: TrialSpec, source: _Source, found: Callable[[str, np.ndarray], np.ndarray]
    ) -> JudgedDraw:
        shape = len(self.evaluation.samples)
        predicted = {shift: np.full(shape, NO_ANSWER, np.int32) for shift in self.risky}

        def answer(shift: str, rows: np.ndarray) -> np.ndarray:
            predicted[shift][rows] = found(shift, rows)
            return predicted[shift][rows]

        draw = self._known(answer)
        state: DrawState = "bad"
        for cell in self.suspects:
            draw.look(self.cells.images_of(np.array([cell])))
            if len(self.cells.bad_cells(draw)):
                break
        else:
            rng = np.random.default_rng([spec.method_seed, SAMPLE_SEED])
            state = judge_by_sample(self.cells, draw, self.risky, rng)
        if state == "bad":
            self._suspect(draw)
        if not source.kept:
            self.evaluation.require_unchanged()
            self.runner.store.put(spec, predicted, source.notes)
        outcome = TrialOutcome(spec, predicted, notes=source.notes)
        return JudgedDraw(outcome, state, draw.count, sampled=True)

    def _known(self, answer: Callable[[str, np.ndarray], np.ndarray]) -> KnownAnswers:
        def changed(shift: str, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            now = answer(shift, self.audited[images]) == self.labels[images]
            before = self.floats[shift][images] == self.labels[images]
            return before & ~now, ~before & now

        return KnownAnswers(self.cells, changed)

    def _spec(self, set_id: str) -> TrialSpec:
        spec = self.runner.spec(set_id, self.evaluation)
        return replace(spec, sampled=self.cells.identity(self.risky, self.suspects))

    def _kept(self, spec: TrialSpec) -> _Source | None:
        # A trial in full knows more than any sample of it.
        for each in (spec, replace(spec, sampled=None)):
            stored = self.runner.store.get(each)
            if stored is not None and (known := stored.predictions) is not None:
                return _Source(lambda shift, rows: known[shift][rows], stored.notes, kept=True)
        return None

    def _unless_kept(self, set_id: str, images: np.ndarray) -> _Source | None:
        return self._made(set_id, images) if self._kept(self._spec(set_id)) is None else None

    def _made(self, set_id: str, images: np.ndarray) -> _Source:
        workload = self.runner.workload
        try:
            parameters = self.runner.quantize(set_id, np.asarray(images))
            predictor = workload.runtime.compile(workload.prepared, parameters)
        except PtqPipelineError as error:
            return _Source(error=str(error))
        return _Source(partial(workload.predict, predictor, self.evaluation), parameters.fallbacks)
