"""The recipe: is the share of bad draws small enough?

PASS is decided at the preset number of draws. It asks that all but a few of the distinct draws are
shown good (see :mod:`.draws`). FAIL has its own error budget and may be declared after any draw
(see :mod:`.anytime`). A failed trial is a bad draw; identical calibration sets are one draw; a set
that validation rejected is no draw: rejection is part of the recipe, and the accepted sets are
draws from what it accepts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.judgement.cells import Cells, Counts
from ptq_pipeline.judgement.judging import judge
from ptq_pipeline.judgement.policy import Policy
from ptq_pipeline.judgement.reasons import Result
from ptq_pipeline.judgement.sentences import Sentence, say
from ptq_pipeline.statistics.anytime import fail_budget, failing_draw
from ptq_pipeline.statistics.draws import DrawSplit, share_of_good_draws

# The pixels of a set say whether two draws are the same; its id also hashes the seed.
IDENTITY_COLUMNS = ("array_sha256", "manifest_hash", "set_id")


@dataclass(frozen=True)
class Draws:
    """The evidence draws of one recipe.

    Attributes:
        strategy: The one strategy they were drawn by.
        table: One row per distinct accepted draw in drawing order: ``draw``, ``set_id``,
            ``trial_id``, ``status`` (done, failed or missing), and ``preset`` (whether it is among
            the first ``policy.draws`` accepted).
        drawn: Sets drawn, rejected and identical ones included.
        accepted: Sets that validation accepted, identical ones included.
        identical: Accepted sets left out because an earlier one is the same.
    """

    strategy: str
    table: pd.DataFrame
    drawn: int
    accepted: int
    identical: int

    @property
    def rejected(self) -> int:
        """Sets that validation rejected."""
        return self.drawn - self.accepted

    @property
    def distinct(self) -> int:
        """Distinct accepted draws among the preset ones."""
        return int(self.table["preset"].sum())

    def count(self, status: str) -> int:
        """How many of them are ``done``, ``failed`` or ``missing``."""
        return int((self.table["status"] == status).sum())

    def set_of(self, trial_id: str) -> str:
        """The calibration set of a trial."""
        return str(self.table.set_index("trial_id").loc[trial_id, "set_id"])

    @property
    def done(self) -> list[str]:
        """Trials that finished, in drawing order."""
        return list(self.table.loc[self.table["status"] == "done", "trial_id"])


@dataclass(frozen=True)
class RecipeOutcome:
    """What the draws show.

    Attributes:
        result: PASS, FAIL or INCONCLUSIVE.
        shown_good: Per distinct draw, shape (draws,).
        shown_bad: Per distinct draw, shape (draws,).
        blocking: Per cell, the number of preset draws in which it is not shown good, shape
            (cells,).
        evaluated: Draws that finished or failed.
        failed_at: Number of draws after which FAIL was declared, or None.
        not_shown_good: Among the preset draws.
        good_share: Share of good draws that is shown, at error alpha.
    """

    result: Result
    shown_good: NDArray[np.bool_]
    shown_bad: NDArray[np.bool_]
    blocking: NDArray[np.int64]
    evaluated: int
    failed_at: int | None
    not_shown_good: int
    good_share: float

    def statement(self, draws: int, alpha: float) -> Sentence:
        """What the draws do show, in a sentence."""
        if self.result == "FAIL":
            bad = int(self.shown_bad.sum())
            return say("recipe.says_bad", bad=bad, draws=self.evaluated)
        good = draws - self.not_shown_good
        if self.good_share <= 0:
            return say("recipe.says_nothing", good=good, draws=draws)
        return say(
            "recipe.says_good",
            good=good,
            draws=draws,
            share=self.good_share,
            confidence=1 - alpha,
        )


def collect_draws(index: pd.DataFrame, trials: pd.DataFrame, policy: Policy) -> Draws:
    """Gather the evidence draws and what became of them.

    Args:
        index: ``calibration_set_index``: ``set_id``, ``strategy``, ``role``, ``draw``, ``valid``,
            and optionally ``array_sha256`` (hash of the set's pixels).
        trials: ``trial_id``, ``set_id``, ``role``, ``status``.
        policy: For the preset number of draws.

    Returns:
        The draws.

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
    table = distinct[["draw", "set_id", "preset"]].merge(
        own[["set_id", "trial_id", "status"]], on="set_id", how="left"
    )
    table["status"] = table["status"].astype(object).where(table["status"].notna(), "missing")
    return Draws(
        strategy=str(strategies[0]),
        table=table.reset_index(drop=True),
        drawn=len(evidence),
        accepted=len(accepted),
        identical=len(accepted) - len(distinct),
    )


def judge_recipe(
    draws: Draws, counts: Counts, cells: Cells, split: DrawSplit, policy: Policy, blocked: bool
) -> RecipeOutcome:
    """Judge the recipe.

    Args:
        draws: The draws.
        counts: Audit counts of the finished trials, in the order of ``draws.done``.
        cells: The cells.
        split: Budget of PASS for the distinct preset draws.
        policy: Errors and p0.
        blocked: Whether PASS is blocked for a reason outside the draws (a group that must be
            judged and is not).

    Returns:
        The outcome.
    """
    budget = fail_budget(policy.p0, policy.alpha_fail)
    judged = judge(counts, cells, split.alpha_image, budget.alpha_images)
    status = draws.table["status"].to_numpy()
    done, failed = status == "done", status == "failed"
    good = np.zeros(len(status), dtype=np.bool_)
    good[done] = judged.shown_good
    bad = failed.copy()
    bad[done] = judged.shown_bad
    preset = draws.table["preset"].to_numpy(dtype=np.bool_)
    not_shown_good = int((~good & preset).sum())
    failed_at = failing_draw(bad[done | failed].tolist(), budget)
    complete = draws.accepted >= policy.draws and not np.any(status[preset] == "missing")
    passed = split.pass_possible and not_shown_good <= split.allowed and cells.judged.any()
    result: Result = "INCONCLUSIVE"
    if failed_at is not None:
        result = "FAIL"
    elif complete and passed and not blocked:
        result = "PASS"
    return RecipeOutcome(
        result=result,
        shown_good=good,
        shown_bad=bad,
        blocking=((~judged.good & cells.judged)[preset[done]]).sum(axis=0).astype(np.int64),
        evaluated=int((done | failed).sum()),
        failed_at=failed_at,
        not_shown_good=not_shown_good,
        good_share=share_of_good_draws(
            draws.distinct, not_shown_good, split.alpha_image, policy.alpha
        ),
    )
