"""The recipe: is the share of bad draws small enough?

PASS is decided at the preset number of draws. It asks that all but a few of the distinct draws are
shown good (see :mod:`.draws`). FAIL has its own error budget and may be declared after any draw
(see :mod:`.anytime`). A failed trial is a bad draw; identical calibration sets are one draw; a set
that validation rejected is no draw: rejection is part of the recipe, and the accepted sets are
draws from what it accepts.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import model_validator

from ptq_pipeline.core.documents import Count, Document
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.group_ids import CellDocument
from ptq_pipeline.judgement.cells import Counts
from ptq_pipeline.judgement.judging import Judged
from ptq_pipeline.judgement.policy import Policy
from ptq_pipeline.judgement.question import Question
from ptq_pipeline.judgement.sentences import BesideResult, Sentence, say
from ptq_pipeline.statistics.anytime import fail_budget, failing_draw
from ptq_pipeline.statistics.draws import DrawSplit, share_of_good_draws

# The pixels of a set say whether two draws are the same; its id also hashes the seed.
IDENTITY_COLUMNS = ("array_sha256", "manifest_hash", "set_id")
MOST_WORST_DRAWS = 5
# What a table of trials has beside where draws were sampled.
SAMPLE_COLUMNS = ("shown", "answers", "full_answers", "question")


@dataclass(frozen=True)
class Draws:
    """The evidence draws of one recipe, all by one strategy.

    Attributes:
        table: One row per distinct accepted draw in drawing order: ``draw``, ``set_id``,
            ``trial_id``, ``status`` (done, sampled, failed or missing), and ``preset`` (whether it
            is among the first ``policy.draws`` accepted); where draws were
            sampled also ``SAMPLE_COLUMNS``: ``shown`` (good, bad or open), answers on audit images
            that were looked at and all of them, and the hash of what was asked.
        drawn: Sets drawn, rejected and identical ones included.
        accepted: Sets that validation accepted, identical ones included.
        set_size: Images of each set; None where they differ or are not known.
    """

    strategy: str
    table: pd.DataFrame
    drawn: int
    accepted: int
    set_size: int | None = None

    @classmethod
    def of_one_model(cls, trial_id: str) -> Draws:
        """No draws: one model of which nobody says how it was calibrated."""
        row = {"draw": 0, "set_id": "", "trial_id": trial_id, "status": "done", "preset": False}
        return cls(strategy="", table=pd.DataFrame([row]), drawn=0, accepted=0)

    @cached_property
    def preset(self) -> NDArray[np.bool_]:
        """Which are among the preset number, shape (draws,)."""
        return self.table["preset"].to_numpy(dtype=np.bool_)

    @property
    def distinct(self) -> int:
        """Distinct accepted draws among the preset ones."""
        return int(self.preset.sum())

    def count(self, status: str) -> int:
        """How many of them are ``done``, ``sampled``, ``failed`` or ``missing``."""
        return int((self.table["status"] == status).sum())

    def set_of(self, trial_id: str) -> str:
        """The calibration set of a trial."""
        return str(self.table.set_index("trial_id").loc[trial_id, "set_id"])

    @property
    def done(self) -> list[str]:
        """Trials that finished, in drawing order."""
        return list(self.table.loc[self.table["status"] == "done", "trial_id"])

    @property
    def preset_done(self) -> list[str]:
        """Those of the preset draws."""
        return list(
            self.table.loc[self.preset & (self.table["status"] == "done").to_numpy(), "trial_id"]
        )


class WorstDraw(CellDocument):
    """A draw by the judged cell that uses most of its limit in it, fractions."""

    draw: int
    trial_id: str
    drop: float
    limit: float
    n: int


class SampledEvidence(Document):
    """What a recipe's verdict rests on where draws were evaluated in part.

    Attributes:
        draws: Draws that were evaluated by a sample.
        answers: Answers on audit images that were looked at, over all draws and shifts.
        full_answers: Those that all of these draws have.
        error: Probability, at most, that a sample takes a draw for good that is not shown good by
            all its answers; it is within ``total_error_bound``.
    """

    draws: Count
    answers: Count
    full_answers: Count
    error: float


class RecipeVerdict(Document):
    """The recipe's part of the verdict; its result is NONE where one model was judged, no draws.

    Attributes:
        sampled: Left out where all draws were evaluated in full.
    """

    added: ClassVar[frozenset[str]] = frozenset(
        "identical_sets failed_after_draws alpha_image alpha_draw total_error_bound alpha_fail "
        "set_size pool_size pool_ratio sentence worst_draws sampled".split()
    )

    result: BesideResult
    strategy: str
    draws: Count
    drawn: Count
    rejected_sets: Count
    identical_sets: int | None = None
    failed_trials: Count
    distinct_draws: Count
    shown_good: Count
    shown_bad: Count
    not_shown_good: Count
    allowed_not_shown_good: int
    failed_after_draws: int | None = None
    p0: float
    alpha: float
    alpha_image: float | None = None
    alpha_draw: float | None = None
    total_error_bound: float | None = None
    alpha_fail: float | None = None
    set_size: int | None = None
    pool_size: int | None = None
    pool_ratio: float | None = None
    statement: str
    sentence: Sentence | None = None
    worst_draws: tuple[WorstDraw, ...] = ()
    sampled: SampledEvidence | None = None

    @model_validator(mode="after")
    def _say_sampled_only(self) -> Self:
        # So that a verdict in full says what it always said.
        if self.sampled is None:
            self.model_fields_set.discard("sampled")
        return self


@dataclass(frozen=True)
class JudgedRecipe:
    """What the draws show.

    Attributes:
        judged: What is shown of the finished ones, a row each.
        split: Budget of PASS for the distinct preset draws.
        policy: Errors and p0, at the level that this recipe may spend.
        blocked: Whether PASS is blocked for a reason outside the draws.
    """

    draws: Draws
    judged: Judged
    split: DrawSplit
    policy: Policy
    blocked: bool

    def _of_draws(self, of_finished: NDArray[np.bool_], otherwise: str) -> NDArray[np.bool_]:
        """Spread what is known of finished draws over all; True also for those of a status."""
        status = self.draws.table["status"].to_numpy()
        found = status == otherwise
        found[status == "done"] = of_finished
        return np.asarray(found, dtype=np.bool_)

    def _sampled(self, shown: str) -> NDArray[np.bool_]:
        """Which draws a sample of their answers shows to be so, shape (draws,)."""
        table = self.draws.table
        if "shown" not in table:
            return np.zeros(len(table), dtype=np.bool_)
        found = (table["status"] == "sampled") & (table["shown"] == shown)
        return found.to_numpy(dtype=np.bool_)

    @cached_property
    def shown_good(self) -> NDArray[np.bool_]:
        """Per distinct draw, shape (draws,)."""
        return self._of_draws(self.judged.shown_good, "") | self._sampled("good")

    @cached_property
    def shown_bad(self) -> NDArray[np.bool_]:
        """Per distinct draw, shape (draws,); a failed trial is bad."""
        return self._of_draws(self.judged.shown_bad, "failed") | self._sampled("bad")

    @property
    def evaluated(self) -> int:
        """Draws that finished or failed."""
        return len(self.draws.table) - self.draws.count("missing")

    @cached_property
    def failed_at(self) -> int | None:
        """Number of draws after which FAIL was declared, or None."""
        known = (self.draws.table["status"] != "missing").to_numpy()
        budget = fail_budget(self.policy.p0, self.policy.alpha_fail, self.policy.draws)
        return failing_draw(self.shown_bad[known].tolist(), budget)

    @cached_property
    def not_shown_good(self) -> int:
        """How many of the preset draws are not shown good."""
        return int((~self.shown_good & self.draws.preset).sum())

    @property
    def blocking(self) -> NDArray[np.int64]:
        """Per cell, the preset draws in which it is not shown good, shape (cells,)."""
        rows = np.isin(self.judged.counts.trial_ids, self.draws.preset_done)
        open_ = ~self.judged.good & self.judged.cells.judged
        return open_[rows].sum(axis=0).astype(np.int64)

    @cached_property
    def result(self) -> BesideResult:
        """PASS, FAIL or INCONCLUSIVE; NONE where there are no draws."""
        if not self.draws.drawn:
            return "NONE"
        if self.failed_at is not None:
            return "FAIL"
        missing = (self.draws.table["status"] == "missing").to_numpy() & self.draws.preset
        complete = self.draws.accepted >= self.policy.draws and not missing.any()
        shown = self.split.pass_possible and self.not_shown_good <= self.split.allowed
        passed = complete and shown and self.judged.cells.judged.any() and not self.blocked
        return "PASS" if passed else "INCONCLUSIVE"

    @property
    def statement(self) -> Sentence:
        """What the draws do show, in a sentence."""
        draws, alpha = self.draws.distinct, self.policy.alpha
        if self.result == "NONE":
            return say("recipe.one_model")
        if self.result == "FAIL":
            bad = int(self.shown_bad.sum())
            return say("recipe.says_bad", bad=bad, draws=self.evaluated)
        seen = {"good": draws - self.not_shown_good, "draws": draws}
        share = share_of_good_draws(
            draws, self.not_shown_good, self.split.alpha_image, alpha, self.split.sampling
        )
        if share <= 0:
            return say("recipe.says_nothing", **seen)
        said = {**seen, "share": share, "confidence": 1 - alpha}
        if (evidence := self._evidence()) is None:
            return say("recipe.says_good", **said)
        looked_at = evidence.answers / evidence.full_answers
        return say(
            "recipe.says_good_by_sample", **said, sampled=evidence.draws, looked_at=looked_at
        )

    def worst_draws(self) -> tuple[WorstDraw, ...]:
        """Draws whose worst judged cell uses most of its limit."""
        cells, audit = self.judged.cells, self.judged.counts
        judged = np.flatnonzero(cells.judged)
        if judged.size == 0 or not audit.trial_ids or not self.draws.drawn:
            return ()
        ratio = audit.drop[:, judged] / cells.limit[judged]
        order = np.argsort(-ratio.max(axis=1), kind="stable")[:MOST_WORST_DRAWS]
        draw = self.draws.table.set_index("trial_id")["draw"]
        worst = judged[ratio[order].argmax(axis=1)]
        return tuple(
            WorstDraw(
                **cells.keys[cell]._asdict(),
                draw=int(draw[audit.trial_ids[row]]),
                trial_id=audit.trial_ids[row],
                drop=float(audit.drop[row, cell]),
                limit=float(cells.limit[cell]),
                n=int(cells.n[cell]),
            )
            for row, cell in zip(order, worst, strict=True)
        )

    def document(self, pool_size: int | None) -> RecipeVerdict:
        """Its part of the verdict; ``pool_size`` images are in the pool."""
        draws, split, policy, said = self.draws, self.split, self.policy, self.statement
        return RecipeVerdict(
            result=self.result,
            strategy=draws.strategy,
            draws=policy.draws,
            drawn=draws.drawn,
            rejected_sets=draws.drawn - draws.accepted,
            identical_sets=max(draws.accepted - len(draws.table), 0),
            failed_trials=draws.count("failed"),
            distinct_draws=draws.distinct,
            shown_good=int((self.shown_good & draws.preset).sum()),
            shown_bad=int(self.shown_bad.sum()),
            not_shown_good=self.not_shown_good,
            allowed_not_shown_good=max(split.allowed, 0),
            failed_after_draws=self.failed_at,
            p0=policy.p0,
            alpha=policy.alpha,
            alpha_image=split.alpha_image,
            alpha_draw=split.alpha_draw,
            total_error_bound=split.total_error,
            alpha_fail=policy.alpha_fail,
            set_size=draws.set_size,
            pool_size=pool_size,
            pool_ratio=draws.set_size / pool_size if draws.set_size and pool_size else None,
            statement=said.text,
            sentence=said,
            worst_draws=self.worst_draws(),
            sampled=self._evidence(),
        )

    def _evidence(self) -> SampledEvidence | None:
        sampled, table = self.draws.count("sampled"), self.draws.table
        if not sampled:
            return None
        return SampledEvidence(
            draws=sampled,
            answers=int(table["answers"].sum()),
            full_answers=int(table["full_answers"].sum()),
            error=self.split.sampling.error,
        )


def collect_draws(index: pd.DataFrame, trials: pd.DataFrame, policy: Policy) -> Draws:
    """Gather the evidence draws and what became of them.

    Args:
        index: ``calibration_set_index``: ``set_id``, ``strategy``, ``role``, ``draw``, ``valid``,
            and optionally ``size`` and ``array_sha256`` (hash of the set's pixels).
        trials: ``trial_id``, ``set_id``, ``role``, ``status``.
        policy: For the preset number of draws.

    Raises:
        InputError: If there is no evidence set, none is valid, or several strategies are mixed.
    """
    evidence = index[index["role"] == "evidence"].sort_values("draw", kind="stable")
    if evidence.empty:
        raise InputError("calibration_set_index: no set has role 'evidence'; draw some.")
    strategies = sorted(evidence["strategy"].unique())
    if len(strategies) > 1:
        raise InputError(
            f"calibration_set_index: evidence mixes the strategies {', '.join(strategies)}; a "
            "recipe has one, make the others comparisons."
        )
    accepted = evidence[evidence["valid"].astype(bool)]
    # Drawing goes on until enough sets are valid, so the preset counts accepted sets.
    accepted = accepted.assign(preset=np.arange(len(accepted)) < policy.draws)
    if accepted.empty:
        raise InputError(
            f"calibration_set_index: all {len(evidence)} calibration sets of the recipe are "
            "invalid; see calibration_validation."
        )
    identity = next(column for column in IDENTITY_COLUMNS if column in accepted.columns)
    distinct = accepted.drop_duplicates(identity)
    own = trials[trials["role"] == "evidence"]
    if own["set_id"].duplicated().any():
        twice = own.loc[own["set_id"].duplicated(), "set_id"].iloc[0]
        raise InputError(f"trials: evidence set '{twice}' has several trials; one is expected.")
    known = ["set_id", "trial_id", "status", *(c for c in SAMPLE_COLUMNS if c in own)]
    table = distinct[["draw", "set_id", "preset"]].merge(own[known], on="set_id", how="left")
    table["status"] = table["status"].astype(object).where(table["status"].notna(), "missing")
    sizes = evidence["size"].unique() if "size" in evidence else []
    return Draws(
        strategy=str(strategies[0]),
        table=table.reset_index(drop=True),
        drawn=len(evidence),
        accepted=len(accepted),
        set_size=int(sizes[0]) if len(sizes) == 1 else None,
    )


def judge_recipe(draws: Draws, counts: Counts, question: Question) -> JudgedRecipe:
    """Judge the recipe by the counts of the finished trials, in the order of ``draws.done``."""
    if draws.drawn:
        judged = question.judge_draws(counts)
    else:
        nothing = np.zeros(counts.lost.shape, dtype=np.bool_)
        judged = Judged(question.cells, counts, nothing, nothing)
    return JudgedRecipe(draws, judged, question.split, question.policy, question.blocked)
