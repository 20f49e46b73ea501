"""Error rates and power of the verdict, by simulation of the code that decides.

``python benchmarks/verdict_simulation.py`` prints the table of ``docs/statistics.md``.

Outcomes are drawn per group from the trinomial distribution. In the *shared* scenarios all draws of
one kind (good or bad) have the very same outcomes: one set of audit images on which the test errors
of all draws come together. That is the worst that shared images can do. In the others every draw
has its own outcomes, as if it had its own images.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ptq_pipeline.core.group_ids import CellKey
from ptq_pipeline.judgement.cells import Cells, Counts
from ptq_pipeline.judgement.judging import judge
from ptq_pipeline.judgement.openings import Opening
from ptq_pipeline.judgement.policy import Policy
from ptq_pipeline.judgement.question import Question
from ptq_pipeline.judgement.recipe import Draws, judge_recipe
from ptq_pipeline.statistics.anytime import fail_budget
from ptq_pipeline.statistics.draws import split_budget

SEED = 20230313


@dataclass(frozen=True)
class Scenario:
    """One truth to simulate.

    Attributes:
        name: What it shows.
        sizes: Samples per group.
        limit: Limit of every group, a fraction.
        drop: True drop of the groups in good draws, and of the candidate.
        bad_drop: True drop of the first group in bad draws.
        bad_share: True share of bad draws.
        changed: Share of answers that change beyond what the drop needs, half lost, half gained.
        at_limit: How many groups have ``drop``; the others have none.
        shared: Whether all draws of a kind share their outcomes.
        draws: Draws made.
        distinct: Distinct draws among them.
    """

    name: str
    sizes: tuple[int, ...]
    limit: float
    drop: float = 0.0
    bad_drop: float = 0.0
    bad_share: float = 0.0
    changed: float = 0.01
    at_limit: int = 1
    shared: bool = True
    draws: int = 50
    distinct: int = 50


@dataclass(frozen=True)
class Rates:
    """Shares of simulated verdicts.

    Attributes:
        recipe_pass: Share of recipe verdicts that are PASS.
        recipe_fail: Share of recipe verdicts that are FAIL.
        candidate_pass: Share of candidate verdicts that are PASS.
        candidate_fail: Share of candidate verdicts that are FAIL.
    """

    recipe_pass: float
    recipe_fail: float
    candidate_pass: float
    candidate_fail: float


FIVE = (5,)
ONE = (800,)
CLASSES = (800,) * 10
MANY = (8000, *(800,) * 10, *(2600,) * 6, *(250,) * 40)

# At the edge of each hypothesis, where wrong verdicts are most frequent.
WRONG_PASS = (
    Scenario("1 group, 10 % bad draws at the limit, shared images", ONE, 0.04, 0.0, 0.04, 0.1),
    Scenario("10 groups, the same", CLASSES, 0.04, 0.0, 0.04, 0.1),
    Scenario("57 groups, the same", MANY, 0.10, 0.0, 0.10, 0.1),
    Scenario("groups of 5, the same", FIVE * 3, 0.60, 0.0, 0.60, 0.1, changed=0.0),
    Scenario("1 group, the same, own images", ONE, 0.04, 0.0, 0.04, 0.1, shared=False),
    Scenario("1 group, every draw bad, shared images", ONE, 0.04, 0.0, 0.04, 1.0),
    Scenario("50 identical draws", ONE, 0.04, 0.0, 0.04, 0.1, distinct=1),
)
WRONG_FAIL = (
    Scenario("1 group, good draws at the limit, shared images", ONE, 0.04, 0.04, 0.2, 0.1),
    Scenario("10 groups, all at the limit", CLASSES, 0.04, 0.04, 0.2, 0.1, at_limit=10),
    Scenario("57 groups, all at the limit", MANY, 0.10, 0.10, 0.3, 0.1, at_limit=57),
    Scenario("groups of 5, all at the limit", FIVE * 3, 0.60, 0.60, 1.0, 0.1, 0.0, at_limit=3),
    Scenario("10 groups, own images", CLASSES, 0.04, 0.04, 0.2, 0.1, at_limit=10, shared=False),
    Scenario("50 identical draws", ONE, 0.04, 0.04, 0.2, 0.1, distinct=1),
)
POWER = (
    Scenario("good: 57 groups, 1 % changed, no drop", MANY, 0.10, changed=0.01),
    Scenario("good: 10 classes, 1 % changed, no drop", CLASSES, 0.04, changed=0.01),
    Scenario("good: 10 classes, 3 % changed, no drop", CLASSES, 0.04, changed=0.03),
    Scenario("hopeless: one class loses twice its limit", CLASSES, 0.04, 0.08, 0.08, 1.0),
    Scenario("hopeless, 4 draws", CLASSES, 0.04, 0.08, 0.08, 1.0, draws=4, distinct=4),
)


def simulate(scenario: Scenario, repeats: int, seed: int = SEED) -> Rates:
    """Shares of verdicts under one truth.

    Args:
        scenario: The truth.
        repeats: Verdicts to simulate.
        seed: Seed of the generator.

    Returns:
        The rates; their standard error is at most ``0.5 / sqrt(repeats)``.
    """
    rng = np.random.default_rng(seed)
    policy = _policy(scenario)
    cells = _cells(scenario)
    question = _question(scenario, policy, cells)
    tally = {"recipe": [0, 0], "candidate": [0, 0]}
    draws = _draws(scenario)
    for _ in range(repeats):
        counts = _draw_counts(scenario, rng)
        recipe = judge_recipe(draws, counts, question)
        single = _draw_counts(replace(scenario, distinct=1, bad_share=0.0), rng)
        candidate = judge(single, cells, policy.alpha, policy.alpha_fail).result(blocked=False)
        for name, result in (("recipe", recipe.result), ("candidate", candidate)):
            tally[name][0] += result == "PASS"
            tally[name][1] += result == "FAIL"
    shares = {name: [count / repeats for count in counts] for name, counts in tally.items()}
    return Rates(*shares["recipe"], *shares["candidate"])


def _probabilities(scenario: Scenario, bad: bool) -> tuple[NDArray[np.float64], ...]:
    drop = np.zeros(len(scenario.sizes))
    drop[: scenario.at_limit] = scenario.drop
    if bad:
        drop[0] = scenario.bad_drop
    gained = np.minimum(scenario.changed / 2, (1 - drop) / 2)
    return drop + gained, gained


def _outcomes(
    scenario: Scenario, rng: np.random.Generator, bad: bool, times: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    p_lost, p_gained = _probabilities(scenario, bad)
    n = np.asarray(scenario.sizes)
    gained = rng.binomial(n, p_gained, size=(times, n.size))
    lost = rng.binomial(n - gained, np.clip(p_lost / (1 - p_gained), 0, 1))
    return lost, gained


def _draw_counts(scenario: Scenario, rng: np.random.Generator) -> Counts:
    draws = scenario.distinct
    bad = rng.random(draws) < scenario.bad_share
    times = 1 if scenario.shared else draws
    good_counts = _outcomes(scenario, rng, False, times)
    bad_counts = _outcomes(scenario, rng, True, times)
    shape = (draws, len(scenario.sizes))
    lost, gained = (
        np.where(bad[:, None], np.broadcast_to(b, shape), np.broadcast_to(g, shape))
        for g, b in zip(good_counts, bad_counts, strict=True)
    )
    return Counts(
        trial_ids=tuple(f"trial-{i}" for i in range(draws)),
        n=np.asarray(scenario.sizes),
        lost=lost,
        gained=gained,
        flips=lost + gained,
        float_accuracy=np.full(len(scenario.sizes), 0.9),
    )


def _cells(scenario: Scenario) -> Cells:
    size = len(scenario.sizes)
    yes, no = np.ones(size, dtype=np.bool_), np.zeros(size, dtype=np.bool_)
    return Cells(
        keys=tuple(CellKey("class", f"group {i}", "clean") for i in range(size)),
        n=np.asarray(scenario.sizes),
        limit=np.full(size, scenario.limit),
        judged=yes,
        critical=no,
    )


def _question(scenario: Scenario, policy: Policy, cells: Cells) -> Question:
    return Question(
        policy=policy,
        opening=Opening.of("recipe", policy, None, can_pass=True),
        cells=cells,
        split=split_budget(scenario.distinct, policy.p0, policy.alpha),
        budget=fail_budget(policy.p0, policy.alpha_fail, policy.draws),
        unjudged=(),
        quick=False,
    )


def _draws(scenario: Scenario) -> Draws:
    table = pd.DataFrame({"draw": np.arange(scenario.distinct)})
    table["trial_id"] = [f"trial-{i}" for i in range(scenario.distinct)]
    table["status"], table["preset"] = "done", True
    return Draws("random", table, scenario.draws, scenario.draws)


def _policy(scenario: Scenario) -> Policy:
    limit = {"points": 100 * scenario.limit}
    limits = dict.fromkeys(("average", "class", "segment", "intersection"), limit)
    return Policy.model_validate({"limits": limits})


def table(scenarios: Sequence[Scenario], repeats: int) -> list[str]:
    """Lines of a Markdown table of the rates."""
    lines = [
        "| truth | recipe PASS | recipe FAIL | candidate PASS | candidate FAIL |",
        "|---|---|---|---|---|",
    ]
    for scenario in scenarios:
        rates = simulate(scenario, repeats)
        shown = (
            rates.recipe_pass,
            rates.recipe_fail,
            rates.candidate_pass,
            rates.candidate_fail,
        )
        lines.append(f"| {scenario.name} | " + " | ".join(f"{100 * r:.1f} %" for r in shown) + " |")
    return lines


def main() -> None:
    """Print all tables, 2,000 verdicts per line."""
    for title, scenarios in (
        ("PASS is wrong for the recipe", WRONG_PASS),
        ("FAIL is wrong; PASS is wrong for the candidate", WRONG_FAIL),
        ("Power", POWER),
    ):
        sys.stdout.write(f"\n{title}\n\n" + "\n".join(table(scenarios, 2000)) + "\n")


if __name__ == "__main__":
    main()
