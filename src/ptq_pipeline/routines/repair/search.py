"""The search: every recipe gets one draw, the best ones more, all on the selection images.

Successive halving (Jamieson and Talwalkar, AISTATS 2016): after each round the better share of the
recipes goes on, with twice as many draws. The configured recipe always goes on, so that the winner
is compared with it on as many draws. Draws have numbers that no audit reaches, so the search has
seen none of the sets that its winner is audited with.

A recipe's score is that of its worst judged group: the largest share that the mean drop over draws
takes of a group's limit. It looks at the average, classes, segments and critical groups; other
intersections have too few selection images to choose by.
"""

import hashlib
import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import stdtrit

from ptq_pipeline.calibration.draws import check_size, draw_set
from ptq_pipeline.calibration.parameters import CalibrationParameters
from ptq_pipeline.calibration.sets import CalibrationSet
from ptq_pipeline.calibration.strategy import Pool
from ptq_pipeline.core.canonical import canonical_hash
from ptq_pipeline.core.errors import InputError, PtqPipelineError
from ptq_pipeline.core.group_ids import NAMED_LEVELS, CellKey
from ptq_pipeline.core.groups import Groups
from ptq_pipeline.core.names import CLEAN
from ptq_pipeline.core.outcomes import Outcomes
from ptq_pipeline.core.tally import tally
from ptq_pipeline.judgement.cells import Cells, build_cells, collect_counts
from ptq_pipeline.judgement.policy import Policy
from ptq_pipeline.pipelines.benchmark.trials import SharedSets
from ptq_pipeline.routines.repair.parameters import RepairParameters
from ptq_pipeline.routines.repair.space import AS_IT_IS, Variant
from ptq_pipeline.statistics.draws import split_budget
from ptq_pipeline.trials.audit import Audit
from ptq_pipeline.trials.evaluation import Evaluation, shifted_evaluation
from ptq_pipeline.trials.execution import TrialRequest, TrialRunner
from ptq_pipeline.trials.trial import TrialOutcome

if TYPE_CHECKING:
    from ptq_pipeline.ptq import MethodConfig, QuantizationParameters

log = logging.getLogger(__name__)

# Draws of the search start here, far from those of an audit.
FIRST_DRAW = 20_000
# Rounded models that are remembered: the recipes of one draw that differ in corrections only.
MOST_KNOWN = 64
# Chance that a recipe is called better than the configured one because of its draws.
ALPHA = 0.05
LEVELS = ("average", *NAMED_LEVELS)
Watch = Callable[[Iterable[Variant], int, str], Iterable[Variant]]


@dataclass(eq=False)
class SharedRounding(SharedSets):
    """A workload that rounds once for all corrections that come after rounding.

    What comes out is what each recipe would make alone. A method that fails with an error of its
    own is a failed trial, which says so.
    """

    _rounded: "dict[str, QuantizationParameters]" = field(default_factory=dict, repr=False)

    def quantize(
        self, method: "MethodConfig", images: np.ndarray, seed: int
    ) -> "QuantizationParameters":
        """Quantize with uint8 calibration images; see `Workload.quantize`."""
        try:
            return self._quantized(method, np.asarray(images), seed)
        except (PtqPipelineError, MemoryError):
            raise
        except Exception as error:
            raise InputError(
                f"method {method.name} failed with {type(error).__name__}: {error}"
            ) from error

    def _quantized(
        self, method: "MethodConfig", images: np.ndarray, seed: int
    ) -> "QuantizationParameters":
        import torch

        from ptq_pipeline.ptq.corrections import correct_rounded
        from ptq_pipeline.ptq.spec import BEFORE_ROUNDING

        before = set(method.corrections) & set(BEFORE_ROUNDING)
        if not method.corrections or before or method.uses_seed or not len(images):
            return self._plain(method, images, seed)
        rounded = self._plain(replace(method, corrections=()), images, seed)
        batch = torch.from_numpy(np.ascontiguousarray(self.model.preprocessing(images)))
        return correct_rounded(self.prepared, rounded, batch, method.corrections)

    def _plain(
        self, method: "MethodConfig", images: np.ndarray, seed: int
    ) -> "QuantizationParameters":
        digest = hashlib.sha256(np.ascontiguousarray(images).data).hexdigest()
        key = canonical_hash([method.name, method.to_json(), digest, seed * method.uses_seed])
        if key not in self._rounded:
            if len(self._rounded) >= MOST_KNOWN:
                self._rounded.pop(next(iter(self._rounded)))
            self._rounded[key] = super().quantize(method, images, seed)
        return self._rounded[key]


@dataclass(frozen=True, eq=False)
class Scorer:
    """What a trial's answers are held against.

    Attributes:
        evaluation: the selection images under every shift.
        groups: their groups.
        cells: groups under shifts; those with ``used`` are looked at.
        reference: the float model's top-1 classes by shift, in the order of the groups' samples.
    """

    evaluation: Evaluation
    groups: Groups
    cells: Cells
    used: NDArray[np.bool_]
    reference: Mapping[str, NDArray[np.integer]]

    @classmethod
    def of(
        cls,
        audit: Audit,
        groups: Groups,
        policy: Policy,
        runner: TrialRunner,
        levels: Sequence[str] = LEVELS,
    ) -> "Scorer":
        """Fix what is judged by counts alone, and ask the float model.

        Groups of other ``levels`` are looked at only if they are critical.

        Raises:
            InputError: no judged group has a selection image.
        """
        evaluation = shifted_evaluation(audit.data, audit.shifts, "selection")
        cells = _judged(groups, policy, list(audit.shifts.root))
        own = groups.only("selection")
        sizes = own.sizes("selection")
        wanted = [
            key.level in levels or bool(critical)
            for key, critical in zip(cells.keys, cells.critical, strict=True)
        ]
        there = [sizes.get(key.of, 0) > 0 for key in cells.keys]
        used = cells.judged & np.array(wanted) & np.array(there)
        if not used.any():
            raise InputError(
                "repair: no judged group has a selection image, so there is nothing to choose by; "
                "give `selection` images of the groups that the policy judges"
            )
        reference = runner.run(None, None, evaluation).predictions
        assert reference is not None
        assert np.array_equal(own.sample_ids, evaluation.samples["sample_id"])
        return cls(evaluation, own, cells, used, reference)

    def drops(self, outcome: TrialOutcome) -> NDArray[np.float64]:
        """Return the drops of one trial in every cell, fractions, shape (cells,)."""
        trial = outcome.spec.trial_id
        outcomes = Outcomes.of_one(trial, outcome.predictions or {}, self.reference, self.groups)
        return collect_counts(tally(outcomes), self.cells, [trial], "selection").drop[0]


def _judged(groups: Groups, policy: Policy, shifts: Sequence[str]) -> Cells:
    seen = dict.fromkeys(shifts, groups)
    if CLEAN in seen:
        seen |= {name: groups.under(name) for name in groups.conditions}
    counted = [under.counts("audit").assign(split="audit", shift=s) for s, under in seen.items()]
    split = split_budget(max(policy.draws, 1), policy.p0, policy.alpha)
    return build_cells(pd.concat(counted), policy, split.alpha_image, groups.cluster_sizes)


@dataclass(frozen=True, eq=False)
class Tried:
    """What came of one recipe so far.

    Attributes:
        drops: one row per draw and one column per cell, fractions.
        error: why its last trial failed, or "".
    """

    variant: Variant
    scorer: Scorer
    drops: tuple[NDArray[np.float64], ...] = ()
    error: str = ""

    @property
    def mean(self) -> NDArray[np.float64]:
        """Mean drops over the draws, shape (cells,)."""
        return np.mean(np.stack(self.drops), axis=0)

    @property
    def worst(self) -> int:
        """The cell that takes the largest share of its limit."""
        shares = np.where(self.scorer.used, self.mean / self.scorer.cells.limit, -np.inf)
        return int(np.argmax(shares))

    @property
    def score(self) -> float:
        """The share of its limit that the worst group takes; infinite after an error."""
        if self.error or not self.drops:
            return math.inf
        return float(self.mean[self.worst] / self.scorer.cells.limit[self.worst])

    @property
    def scores(self) -> NDArray[np.float64]:
        """The same of each draw alone, shape (draws,)."""
        used = self.scorer.used
        return (np.stack(self.drops)[:, used] / self.scorer.cells.limit[used]).max(axis=1)

    def better_than(self, other: "Tried") -> bool:
        """Whether it is better, and by more than the spread between draws explains.

        The mean difference of scores over the draws of both, with Student's one-sided bound; of a
        single draw only the difference itself is known.
        """
        if not self.score < other.score:
            return False
        both = min(len(self.drops), len(other.drops))
        if other.error or both < 2:
            return True
        gain = other.scores[:both] - self.scores[:both]
        reach = float(stdtrit(both - 1, 1 - ALPHA)) * float(gain.std(ddof=1)) / math.sqrt(both)
        return float(gain.mean()) > reach

    @property
    def place(self) -> CellKey:
        """Where it loses most."""
        return self.scorer.cells.keys[self.worst]

    def largest(self, level: str) -> float:
        """Return the largest mean drop of a level's groups under any shift, in points."""
        inside = self.scorer.used & (self.scorer.cells.levels == level)
        return 100 * float(self.mean[inside].max()) if inside.any() else math.nan


@dataclass(eq=False)
class Search:
    """One search: what all its recipes share.

    Attributes:
        watch: passes on the recipes of a round, for example to show progress; takes how many there
            are and what the round is called.
        levels: of the groups that are looked at; without classes no label is needed.
        notes: what a reader of the result should know of the search.
    """

    audit: Audit
    pool: Pool
    calibration: Mapping[str, Any]
    groups: Groups
    policy: Policy
    parameters: RepairParameters
    watch: Watch = lambda items, total, text: items
    levels: Sequence[str] = LEVELS

    def __post_init__(self) -> None:
        runtime = self.audit.recipe.runtime
        self.workload = SharedRounding(
            self.audit.model,
            runtime.build(),
            self.audit.data.image_shape,
            batch_size=runtime.batch_size,
        )
        self.scorer = Scorer.of(
            self.audit,
            self.groups,
            self.policy,
            self.runner(self.audit.recipe.method),
            self.levels,
        )
        self._sets: dict[tuple[str, int], CalibrationSet] = {}
        self.notes: list[str] = []

    def runner(self, method: "MethodConfig") -> TrialRunner:
        """Return what runs a method's trials."""
        executor = self.audit.recipe.executor.build()
        shifts = self.audit.shifts.root
        return TrialRunner(self.workload, method, self.audit.store, shifts, executor)

    def run(self, variants: Sequence[Variant]) -> list[Tried]:
        """Return every recipe with what came of it, the best first.

        Ties go to the cheaper one, which comes first in ``variants``.

        Raises:
            InputError: every recipe failed.
        """
        tried = {each.key: Tried(each, self.scorer) for each in variants}
        kept, wanted, start = list(variants), 1, time.monotonic()
        while True:
            for variant in self.watch(kept, len(kept), f"{len(kept)} recipes, {wanted} draws"):
                tried[variant.key] = self._drawn(tried[variant.key], wanted)
            order = sorted(variants, key=lambda each: tried[each.key].score)
            kept = [each for each in order if each in kept]
            best = tried[kept[0].key]
            if best.error:
                raise InputError(f"repair: every recipe failed, '{kept[0].name}': {best.error}")
            log.info(
                "%d recipes with %d draws: the worst group of '%s' takes %.0f %% of its limit",
                *(len(kept), wanted, best.variant.name, 100 * best.score),
            )
            if wanted >= self.parameters.draws or self._is_late(start, wanted):
                break
            number = max(self.parameters.finalists, math.ceil(len(kept) * self.parameters.keep))
            kept = going_on(kept, number, tried)
            wanted = min(2 * wanted, self.parameters.draws)
        return sorted(
            tried.values(), key=lambda each: (bool(each.error), -len(each.drops), each.score)
        )

    def _is_late(self, start: float, draws: int) -> bool:
        limit = self.parameters.minutes
        if limit is None or (time.monotonic() - start) / 60 <= limit:
            return False
        self.notes.append(
            f"the search stopped after {draws} of {self.parameters.draws} draws, because "
            f"`repair.minutes` is {limit:g}"
        )
        return True

    def _drawn(self, tried: Tried, wanted: int) -> Tried:
        """Return the same with ``wanted`` draws, or with its error."""
        runner = self.runner(tried.variant.method)
        numbers = range(len(tried.drops), wanted)
        try:
            sets = [self.drawn_set(tried.variant, FIRST_DRAW + number) for number in numbers]
        except InputError as error:
            return replace(tried, error=str(error))
        requests = [TrialRequest(s.set_id, s.images, self.scorer.evaluation) for s in sets]
        outcomes = runner.run_all(requests)
        failed = [outcome.error for outcome in outcomes if outcome.predictions is None]
        if failed:
            return replace(tried, error=failed[0])
        return replace(tried, drops=(*tried.drops, *map(self.scorer.drops, outcomes)))

    def drawn_set(self, variant: Variant, draw: int) -> CalibrationSet:
        """Return a calibration set of a recipe by its number."""
        key = (canonical_hash(dict(variant.calibration)), draw)
        if key not in self._sets:
            group = {**self.calibration, **variant.calibration}
            plan = CalibrationParameters.model_validate(group).recipe
            check_size(self.pool, plan.size)
            self._sets[key] = draw_set(self.pool, self.audit.data.images, plan, draw)
        return self._sets[key]


def going_on(kept: Sequence[Variant], number: int, tried: Mapping[str, Tried]) -> list[Variant]:
    """Return the best ones, and the configured recipe."""
    left = [each for each in kept if not tried[each.key].error]
    chosen = left[:number]
    return chosen + [each for each in left[number:] if each.name == AS_IT_IS]
