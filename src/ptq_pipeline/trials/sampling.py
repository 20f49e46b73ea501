"""A recipe's draws for the price of a few: the first in full, of every other one a sample.

What is looked at, and what follows, says `judgement.sampling`; here the images are evaluated. Draws
come in their order, in this process: while one is evaluated, the next is quantized and compiled.
"""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from ptq_pipeline.runtimes import Predictor

NO_ANSWER = -1
# The sample's seed is the method's with this beside it.
SAMPLE_SEED = 0x5A


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
class _Ready:
    """A draw that can be looked at: its answers are in the store, or its model is compiled."""

    spec: TrialSpec
    stored: Mapping[str, np.ndarray] | None = None
    predictor: "Predictor | None" = None
    notes: tuple[str, ...] = ()
    error: str = ""


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
        self.study = Study(scope, shifts, self.reference)
        ids = samples["sample_id"].to_numpy()[self.audited]
        self.cells = SampledCells.of(self.study, shifts, ids)
        least = int(np.ceil(SMALL_MARGINS * len(ids)))
        order = {s: np.argsort(margins[s][self.audited], kind="stable") for s in shifts}
        self.risky = {s: np.isin(np.arange(len(ids)), order[s][:least]) for s in shifts}

    @property
    def answers_of_a_draw(self) -> int:
        """Audit answers of one draw in full."""
        return len(self.audited) * len(self.risky)

    def draws(self, sets: Mapping[str, np.ndarray]) -> Iterator[JudgedDraw]:
        """Evaluate draw after draw until the recipe is refused; ``sets`` are uint8 images by id."""
        ids = list(self.scope.draws.table["set_id"])
        full = self.scope.policy.sampling.full
        first = [TrialRequest(each, sets[each], self.evaluation) for each in ids[:full]]
        suspects = np.zeros(0, np.int64)
        for outcome in self.runner.run_all(first):
            found, bad = self._in_full(outcome)
            suspects = self._smallest(bad, suspects)
            yield found
            if self.study.add(found.state) == "FAIL":
                return
        with closing(self._prepared(ids[full:], sets)) as others:
            for ready in others:
                found, bad = self._by_sample(ready, suspects)
                suspects = self._smallest(bad, suspects)
                yield found
                if self.study.add(found.state) == "FAIL":
                    return

    def _smallest(self, bad: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
        """The smallest bad cell: what is bad in one draw is looked at first in the next."""
        return bad[[np.argmin(self.cells.cells.n[bad])]] if len(bad) else otherwise

    def _in_full(self, outcome: TrialOutcome) -> tuple[JudgedDraw, np.ndarray]:
        predicted = outcome.predictions
        if predicted is None:
            return JudgedDraw(outcome, "failed", 0, sampled=False), np.zeros(0, np.int64)
        draw = self._known(lambda shift, rows: predicted[shift][rows])
        state = judge_in_full(self.cells, draw)
        for shift, answers in predicted.items():
            self.risky[shift] |= answers[self.audited] != self.floats[shift]
        return JudgedDraw(outcome, state, draw.count, sampled=False), self.cells.bad_cells(draw)

    def _by_sample(self, ready: _Ready, suspects: np.ndarray) -> tuple[JudgedDraw, np.ndarray]:
        spec, predictor = ready.spec, ready.predictor
        if ready.error:
            failed = TrialOutcome(spec, None, ready.error)
            return JudgedDraw(failed, "failed", 0, sampled=False), np.zeros(0, np.int64)
        shape = len(self.evaluation.samples)
        predicted = {shift: np.full(shape, NO_ANSWER, np.int32) for shift in self.risky}

        def answer(shift: str, rows: np.ndarray) -> np.ndarray:
            if predictor is None:
                assert ready.stored is not None
                predicted[shift][rows] = ready.stored[shift][rows]
            else:
                predicted[shift][rows] = self.runner.workload.predict(
                    predictor, self.evaluation, shift, rows
                )
            return predicted[shift][rows]

        draw = self._known(answer)
        draw.look(self.cells.images_of(suspects))
        if len(self.cells.bad_cells(draw)):
            state: DrawState = "bad"
        else:
            rng = np.random.default_rng([spec.method_seed, SAMPLE_SEED])
            state = judge_by_sample(self.cells, draw, self.risky, rng)
        if predictor is not None:
            self.evaluation.require_unchanged()
            self.runner.store.put(spec, predicted, ready.notes)
        outcome = TrialOutcome(spec, predicted, notes=ready.notes)
        return JudgedDraw(outcome, state, draw.count, sampled=True), self.cells.bad_cells(draw)

    def _known(self, answer: Callable[[str, np.ndarray], np.ndarray]) -> KnownAnswers:
        def changed(shift: str, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            now = answer(shift, self.audited[images]) == self.labels[images]
            before = self.floats[shift][images] == self.labels[images]
            return before & ~now, ~before & now

        return KnownAnswers(self.cells, changed)

    def _prepared(
        self, ids: Sequence[str], sets: Mapping[str, np.ndarray]
    ) -> Generator[_Ready, None, None]:
        """Yield draws that are ready, the next one in the making while one is looked at."""
        identity = self.cells.identity(self.risky)
        specs = [replace(self.runner.spec(each, self.evaluation), sampled=identity) for each in ids]
        with ThreadPoolExecutor(1, thread_name_prefix="prepare") as thread:
            coming: Future[_Ready] | None = None
            for place, (set_id, spec) in enumerate(zip(ids, specs, strict=True)):
                ready = self._ready(spec, sets[set_id]) if coming is None else coming.result()
                coming, after = None, specs[place + 1 : place + 2]
                if after and self.runner.workload.is_quick(after[0]):
                    coming = thread.submit(self._ready, after[0], sets[ids[place + 1]])
                yield ready

    def _ready(self, spec: TrialSpec, images: np.ndarray) -> _Ready:
        # A trial in full knows more than any sample of it.
        for kept in (spec, replace(spec, sampled=None)):
            if (stored := self.runner.store.get(kept)) is not None:
                return _Ready(spec, stored.predictions, notes=stored.notes)
        workload = self.runner.workload
        try:
            parameters = self.runner.quantize(str(spec.calibration_set), np.asarray(images))
            predictor = workload.runtime.compile(workload.prepared, parameters)
        except PtqPipelineError as error:
            return _Ready(spec, error=str(error))
        return _Ready(spec, predictor=predictor, notes=parameters.fallbacks)
