"""The recipe with the best worst group against the one with the best average, at few bits.

Usage: ``make repair-study``, or ``python benchmarks/repair_study.py --models resnet20 --bits
W4A8`` after ``kedro run --pipelines data_loading``. Recipes are searched on the ``selection``
images; the table is of the ``reference`` images, which neither calibrate nor choose, so the audit
images stay unopened. Trials are kept in the trial store: a study that was stopped goes on.

With ``--grid`` every recipe of a search gets all draws instead, and a row says how far the one that
the search found is from the best of them.
"""

import argparse
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ptq_pipeline.calibration.strategy import Pool
from ptq_pipeline.core.group_ids import GroupDefinitions
from ptq_pipeline.core.grouping import SubgroupScoringParameters
from ptq_pipeline.images.audit_data import AuditData
from ptq_pipeline.judgement.policy import Policy
from ptq_pipeline.project import Project, opened
from ptq_pipeline.routines.repair.parameters import RepairParameters
from ptq_pipeline.routines.repair.search import LEVELS, Search, Tried
from ptq_pipeline.routines.repair.space import AS_IT_IS, Variant, variants
from ptq_pipeline.statistics.crossed import group_drops, mean_over_draws
from ptq_pipeline.stress.shifts import StressParameters
from ptq_pipeline.trials.audit import Audit
from ptq_pipeline.trials.evaluation import Evaluation, shifted_evaluation
from ptq_pipeline.trials.execution import TrialRequest
from ptq_pipeline.trials.recipe import Recipe

# Draws of the table: no search and no audit reaches them.
FIRST_DRAW = 30_000
REPLICATES, SEED = 200, 2303
# More recipes than a search has: all of them reach the last round.
MOST = 1000
CHOSEN_BY: dict[str, Sequence[str]] = {
    "worst group": LEVELS,
    "worst segment, no labels": ("average", "segment"),
    "average": ("average",),
}


def bits_of(text: str) -> tuple[int, int]:
    """Return the bits of weights and of activations, as in ``W4A8``."""
    weights, activations = map(int, re.fullmatch(r"W(\d)A(\d)", text).groups())
    return weights, activations


def one_setting(description: str, bits: str, draws: int) -> argparse.ArgumentParser:
    """Return the options of a study of one model at some bits."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--model", default="resnet20")
    parser.add_argument("--bits", default=bits)
    parser.add_argument("--draws", type=int, default=draws)
    parser.add_argument("--threads", type=int, default=1)
    return parser


@dataclass(frozen=True, eq=False)
class Study:
    """One model and its data."""

    project: Project
    model: str
    threads: int

    def search(
        self, bits: tuple[int, int], levels: Sequence[str], draws: int, finalists: int = 3
    ) -> Search:
        """Return the search from plain min-max at some bits."""
        method = {"weight_bits": bits[0], "activation_bits": bits[1]}
        runtime = {"name": "openvino", "threads": self.threads}
        samples = self.project.load("samples")
        definitions = self.project.document("group_definitions", GroupDefinitions)
        scoring = self.project.settings("subgroup_scoring", SubgroupScoringParameters)
        data = AuditData(samples, self.project.load("images"))
        audit = Audit(
            data,
            {},
            self.project.load(f"{self.model}_model"),
            self.project.load("trial_store"),
            self.project.settings("stress", StressParameters),
            Recipe(method=method, runtime=runtime, statistics="direct"),
        )
        return Search(
            audit,
            Pool.from_samples(samples, definitions, profiles=self.project.load("profiles")),
            self.project.group("calibration"),
            scoring.build(data.evaluated, definitions),
            self.project.settings("worst_case_check", Policy),
            RepairParameters(draws=draws, finalists=finalists),
            levels=levels,
        )


def losses(
    search: Search, variant: Variant, evaluation: Evaluation, draws: int, first: int = FIRST_DRAW
) -> np.ndarray:
    """Return float right minus quantized right, int8 ``(shifts, draws, images)``."""
    runner, labels = search.runner(variant.method), evaluation.samples["label"].to_numpy()
    sets = [search.drawn_set(variant, first + draw) for draw in range(draws)]
    requests = [TrialRequest(each.set_id, each.images, evaluation) for each in sets]
    plain = runner.run(None, None, evaluation).predictions
    found = []
    for outcome in runner.run_all(requests):
        if outcome.predictions is None or plain is None:
            raise RuntimeError(f"{variant.name}: {outcome.error}")
        rows = [
            (plain[shift] == labels).astype(np.int8) - (outcome.predictions[shift] == labels)
            for shift in evaluation.arrays
        ]
        found.append(rows)
    return np.array(found, np.int8).transpose(1, 0, 2)


def worst(table: np.ndarray, codes: Sequence[np.ndarray]) -> np.ndarray:
    """Return the largest drop of any group under any shift in points, ``(1 + B, draws)``."""
    drops = [
        group_drops(rows, code, int(code.max()) + 1, REPLICATES, SEED)
        for rows in table
        for code in codes
    ]
    return 100 * np.nanmax(np.concatenate(drops, axis=1), axis=1)


def measures(
    table: np.ndarray, samples: pd.DataFrame, segments: Sequence[str]
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield worst class, worst segment and largest average of each draw."""
    yield "class", worst(table, [samples["label"].to_numpy()])
    yield "segment", worst(table, [pd.factorize(samples[each])[0] for each in segments])
    yield "average", worst(table, [np.zeros(len(samples), np.int64)])


def shown(values: np.ndarray) -> str:
    """Return a mean over draws with its interval."""
    found = mean_over_draws(values)
    return f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]"


def found_by(search: Search) -> list[Tried]:
    """Run a search over all its recipes."""
    recipes, _ = variants(
        search.workload.prepared,
        search.audit.recipe.method,
        search.calibration,
        search.parameters,
    )
    return search.run(recipes)


def compare_with_grid(study: Study, bits: tuple[int, int], draws: int) -> None:
    """Print what the search found beside the best recipe of the whole grid, on as many draws."""
    found = found_by(study.search(bits, LEVELS, draws))[0]
    grid = found_by(study.search(bits, LEVELS, draws, finalists=MOST))
    best = min(grid, key=lambda each: each.largest("class"))
    same = next(each for each in grid if each.variant.key == found.variant.key)
    of_draws = [len(each.drops) for each in grid if not each.error]
    assert set(of_draws) == {draws}, of_draws
    cells = [f"{each.variant.name} | {each.largest('class'):.2f}" for each in (same, best)]
    setting = f"{study.model} W{bits[0]}A{bits[1]}"
    print(f"| {setting} | {' | '.join(cells)} | {len(grid)} x {draws} |", flush=True)


def run(study: Study, bits: tuple[int, int], search_draws: int, draws: int) -> None:
    """Search by each criterion, then print what the recipes lose on the reference images."""
    chosen: dict[str, Variant] = {}
    tables: dict[str, Mapping[str, np.ndarray]] = {}
    start = time.process_time()
    for by, levels in CHOSEN_BY.items():
        search = study.search(bits, levels, search_draws)
        found = found_by(search)
        own = next(each.variant for each in found if each.variant.name == AS_IT_IS)
        chosen.setdefault(AS_IT_IS, own)
        chosen[by] = found[0].variant
        spent = time.process_time() - start
        print(f"searched by {by}: {spent:.0f} processor seconds so far", flush=True)
    evaluation = shifted_evaluation(search.audit.data, search.audit.shifts, "reference")
    segments = list(study.project.document("group_definitions", GroupDefinitions).segments)
    for by, variant in chosen.items():
        table = losses(search, variant, evaluation, draws)
        tables[by] = dict(measures(table, evaluation.samples, segments))
        cells = " | ".join(shown(values) for values in tables[by].values())
        print(
            f"| {study.model} W{bits[0]}A{bits[1]} | {by} | {variant.name} | {variant.size:,} "
            f"| {cells} |",
            flush=True,
        )
    for name in ("class", "segment", "average"):
        gain = tables["average"][name] - tables["worst group"][name]
        print(f"best average minus best worst group, {name}: {shown(gain)}", flush=True)


def main() -> None:
    """Run the study that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default="resnet20,mobilenet_v2_small")
    parser.add_argument("--bits", default="W4A8,W4A4,W3A4,W2A8")
    # With these the whole study takes about an hour of processor time.
    parser.add_argument("--search-draws", type=int, default=4)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--grid", action="store_true", help="search against the whole grid")
    given = parser.parse_args()
    head = "| setting | chosen by | recipe | bytes | worst class | worst segment | average |"
    if given.grid:
        head = (
            "| setting | the search found | worst class | best of the grid | worst class | grid |"
        )
    print(head)
    print("|---" * (head.count("|") - 1) + "|")
    with opened() as project:
        for model in given.models.split(","):
            for text in given.bits.split(","):
                study, bits = Study(project, model, given.threads), bits_of(text)
                if given.grid:
                    compare_with_grid(study, bits, given.search_draws)
                else:
                    run(study, bits, given.search_draws, given.draws)


if __name__ == "__main__":
    main()
