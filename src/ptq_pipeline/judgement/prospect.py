"""How likely a PASS is, from answers on ``selection``: the whole policy, not one group at a time.

Every group may look well shown while a PASS is unlikely, because it needs all of them in nearly all
draws. So audits are resampled: images of ``selection``, or their clusters, with replacement, shared
by all draws as in an audit, and draws with replacement from those that were made. Each resampled
audit is judged as the verdict would judge it. ``audit`` images are not looked at, so a plan may
change the policy by what it sees here.

This is a plan, not evidence: counts of a resampled audit are brought to the sizes of its groups by
proportion, and where ``selection`` holds few images of a group it knows little of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from ptq_pipeline.core.documents import Document
from ptq_pipeline.core.group_ids import CellKey
from ptq_pipeline.core.names import CLEAN
from ptq_pipeline.core.outcomes import Outcomes
from ptq_pipeline.judgement.cells import Cells, Counts
from ptq_pipeline.judgement.judging import judge
from ptq_pipeline.judgement.policy import Policy
from ptq_pipeline.judgement.question import Question
from ptq_pipeline.judgement.sentences import cell_name
from ptq_pipeline.statistics.betting import resampled_below
from ptq_pipeline.statistics.draws import split_budget

RESAMPLES = 100
SEED = 20230313
# Changes that are tried: so many times the images of a group, and so many draws more.
TIMES, MORE_DRAWS = 2, 1.2
FloatArray = NDArray[np.float64]


class PassChance(Document):
    """How likely a PASS is, and what would raise it.

    Attributes:
        chance: Share of resampled audits that PASS, recipe and candidate.
        draws: Draws that were resampled.
        blocker: The cell that is most often not shown good; None where none ever is.
        changes: What one change would make of the chance, the largest first: words and chance.
    """

    chance: float
    draws: int
    blocker: CellKey | None
    changes: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Prospect:
    """Answers on ``selection``, arranged for resampling.

    Attributes:
        question: What will be asked.
        lost: By shift, lost answers per draw and image, 0 or 1, sparse, shape (draws, images).
        gained: Likewise.
        members: By shift, which images are in which cell, shape (cells, images).
        clusters: Cluster of each image, counted from 0, shape (images,).
        best: The draw that would be the candidate.
    """

    question: Question
    lost: dict[str, sparse.csr_array]
    gained: dict[str, sparse.csr_array]
    members: dict[str, sparse.csr_array]
    clusters: NDArray[np.int64]
    best: int = 0

    @classmethod
    def of(cls, question: Question, outcomes: Outcomes, trial_ids: Sequence[str]) -> Prospect:
        """Arrange the answers of the recipe's finished trials."""
        groups = outcomes.groups
        chosen = groups.split == "selection"
        number = {key: i for i, key in enumerate(question.cells.keys)}
        lost, gained, members = {}, {}, {}
        for shift in outcomes.shifts:
            net = outcomes.losses(trial_ids, shift)[:, np.flatnonzero(chosen)].tocsr()
            lost[shift], gained[shift] = (net > 0).astype(float), (net < 0).astype(float)
            seen = {shift: groups}
            if shift == CLEAN:
                seen |= {name: groups.under(name) for name in groups.conditions}
            rows, columns = [], []
            for name, each in seen.items():
                for part in each.partitions:
                    codes = [number.get(CellKey(part.level, g, name), -1) for g in part.groups]
                    found = np.array([*codes, -1])[part.codes[chosen]]
                    columns.append(np.flatnonzero(found >= 0))
                    rows.append(found[columns[-1]])
            places = np.concatenate(rows), np.concatenate(columns)
            shape = len(number), int(chosen.sum())
            members[shift] = sparse.csr_array((np.ones(len(places[0])), places), shape=shape)
        own = np.unique(groups.clusters[chosen], return_inverse=True)[1]
        made = cls(question, lost, gained, members, own.astype(np.int64))
        whole = made._counts(np.ones(int(chosen.sum())), np.random.default_rng(SEED))
        judged = question.cells.judged
        ratio = (whole.drop / question.cells.limit)[:, judged]
        return replace(made, best=int(np.nanargmin(np.nanmax(ratio, axis=1))))

    def chance(self) -> PassChance:
        """Resample, and try one change after the other."""
        cells, policy = self.question.cells, self.question.policy
        passed, blocked = self._passed(cells, policy, policy.draws)
        if not blocked.any():
            return PassChance(chance=passed, draws=self.draws, blocker=None, changes=())
        key = cells.keys[int(blocked.argmax())]
        of_group = np.array([each.of == key.of for each in cells.keys])
        more = replace(cells, n=np.where(of_group, TIMES * cells.n, cells.n))
        looser = replace(cells, limit=np.where(of_group, cells.limit + 0.01, cells.limit))
        draws = int(np.ceil(MORE_DRAWS * policy.draws))
        name = cell_name(*key)
        tried = {
            f"{TIMES} times the audit images of {key.level} {key.group}": (more, policy.draws),
            f"a limit of {100 * cells.limit[int(blocked.argmax())] + 1:g} points for {name}": (
                looser,
                policy.draws,
            ),
            f"{draws} draws": (cells, draws),
        }
        found = {what: self._passed(changed, policy, k)[0] for what, (changed, k) in tried.items()}
        best = sorted(found.items(), key=lambda each: -each[1])
        return PassChance(chance=passed, draws=self.draws, blocker=key, changes=tuple(best))

    @property
    def draws(self) -> int:
        """Draws that there are answers of."""
        return int(next(iter(self.lost.values())).shape[0])

    def _passed(self, cells: Cells, policy: Policy, draws: int) -> tuple[float, FloatArray]:
        """Share of resampled audits that PASS, and how often each cell was in the way."""
        rng = np.random.default_rng(SEED)
        split = split_budget(draws, policy.p0, policy.alpha, policy.sampling)
        blocked = np.zeros(len(cells))
        if not split.pass_possible or self.question.blocked:
            return 0.0, blocked
        prospect, passed = replace(self, question=replace(self.question, cells=cells)), 0
        clusters = int(self.clusters.max()) + 1
        times = rng.multinomial(clusters, np.full(clusters, 1 / clusters), RESAMPLES).astype(float)
        alphas = split.alpha_image, policy.alpha
        bets = [prospect._bets(times, alpha) for alpha in alphas]
        for number, weight in enumerate(times):
            counts = prospect._counts(weight[self.clusters], rng)
            good, best = (
                judge(counts, cells, alpha, self.question.budget.alpha_images).good
                for alpha in alphas
            )
            for shown, found in zip((good, best), bets, strict=True):
                for cell, by_bet in found.items():
                    shown[:, cell] = by_bet[number]
            chosen = rng.integers(0, self.draws, draws)
            open_ = np.any(~good[:, cells.judged], axis=1)
            candidate = bool(best[self.best, cells.judged].all())
            passed += int(open_[chosen].sum()) <= split.allowed and candidate
            blocked += (~good[chosen] & cells.judged).sum(axis=0)
        return passed / RESAMPLES, blocked

    def _bets(self, times: FloatArray, alpha: float) -> dict[int, NDArray[np.bool_]]:
        """Which judged cells of clusters are shown good, shape (resampled audits, draws) each.

        ``times`` says how often each cluster is in each of these audits; a cell's clusters are
        brought to the number that its audit has by proportion.
        """
        cells, found = self.question.cells, {}
        for i in np.flatnonzero(cells.testable & cells.clustered).tolist():
            sizes = cells.clusters[cells.keys[i].of]
            assert sizes is not None
            shift = next((s for s, m in self.members.items() if m[[i]].nnz), None)
            if shift is None:
                # No selection image says that anything is lost.
                found[i] = np.ones((len(times), self.draws), dtype=np.bool_)
                continue
            inside = self.members[shift][[i]].indices
            here, own = np.unique(self.clusters[inside], return_inverse=True)
            net = (self.lost[shift] - self.gained[shift])[:, inside]
            members = sparse.csr_array((np.ones(len(own)), (np.arange(len(own)), own)))
            by_cluster = (net @ members).toarray()
            wanted = len(sizes) * cells.n[i] / sizes.sum()
            count = times[:, here] * wanted / len(here)
            size, limit = np.bincount(own).astype(np.float64), float(cells.limit[i])
            found[i] = resampled_below(size, by_cluster.astype(np.float64), count, limit, alpha)
        return found

    def _counts(self, weight: FloatArray, rng: np.random.Generator) -> Counts:
        """Counts of one resampled audit, brought to the sizes of its cells."""
        cells = self.question.cells
        seen = np.zeros(len(cells))
        lost, gained = (np.zeros((self.draws, len(cells))) for _ in range(2))
        for shift, members in self.members.items():
            weighted = members * weight[None, :]
            seen += np.asarray(weighted.sum(axis=1)).ravel()
            lost += (weighted @ self.lost[shift].T).toarray().T
            gained += (weighted @ self.gained[shift].T).toarray().T
        scale = cells.n / np.maximum(seen, 1)
        # Up or down by chance, so that no share is rounded away; the same for all draws.
        fraction = rng.random((2, len(cells)))
        whole = [np.floor(each * scale + fraction[i]) for i, each in enumerate((lost, gained))]
        fewer, other = (np.minimum(each, cells.n).astype(np.int64) for each in whole)
        names = tuple(str(i) for i in range(self.draws))
        return Counts(names, cells.n, fewer, other, fewer + other, np.ones(len(cells)))
