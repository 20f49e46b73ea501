"""Methods that look at the worst group against their plain forms, on the same draws.

Usage: ``python benchmarks/worst_group_study.py minimax_ranges --model resnet20 --bits W4A4 --draws
6`` after ``kedro run --pipelines data_loading``. The table is of the ``reference`` images under all
shifts; weights of ``weighted_gptq`` are chosen on ``selection``. Trials stay in the trial store: a
study that was stopped goes on. ``--why`` looks into the ranges of one draw instead: which class
decides them.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from repair_study import FIRST_DRAW, Study, bits_of, losses, measures, one_setting, shown
from worst_group_methods import easiest_decides, register_all

from ptq_pipeline.core.group_ids import GroupDefinitions
from ptq_pipeline.project import opened
from ptq_pipeline.ptq import method_from_json
from ptq_pipeline.routines.repair.search import LEVELS, Search
from ptq_pipeline.routines.repair.space import Variant
from ptq_pipeline.trials.evaluation import shifted_evaluation

MATCHED = {"corrections": ["output_matching"]}
ENDS = {"first_last_8_bit": True}
# The weights of GPTQ move this often, by what this many draws lose on the selection images.
ROUNDS, ROUND_DRAWS = 3, 2
PAIRS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "minimax_ranges": (
        {"name": "group_ranges", "criterion": "mean", **ENDS},
        {"name": "group_ranges", **ENDS},
    ),
    "minimax_ranges_matched": (
        {"name": "group_ranges", "criterion": "mean", **ENDS, **MATCHED},
        {"name": "group_ranges", **ENDS, **MATCHED},
    ),
    "output_matching": ({"name": "nearest"}, {"name": "nearest", **MATCHED}),
    "output_matching_gptq": ({"name": "gptq", **ENDS}, {"name": "gptq", **ENDS, **MATCHED}),
    "weighted_gptq": ({"name": "weighted_gptq", **ENDS}, {"name": "weighted_gptq", **ENDS}),
    "coverage": (
        {"name": "chosen_images", "by": "order", **ENDS},
        {"name": "chosen_images", **ENDS},
    ),
    "shrunk_batch_norm": (
        {"name": "shrunk_correction", "share": 1.0},
        {"name": "shrunk_correction", "share": 0.5},
    ),
    "shrunk_bias_correction": (
        {"name": "shrunk_correction", "correction": "bias_correction", "share": 1.0},
        {"name": "shrunk_correction", "correction": "bias_correction", "share": 0.5},
    ),
    "group_dro": ({"name": "adaround_cpu", **ENDS}, {"name": "group_dro", **ENDS}),
}


def moved(search: Search, bits: Mapping[str, int]) -> dict[str, int]:
    """Return how often each class counts, after rounds on the selection images."""
    times: dict[str, int] = {}
    labels = search.scorer.evaluation.samples["label"].to_numpy()
    for number in range(ROUNDS):
        values = {"name": "weighted_gptq", **ENDS, **bits, "times": times}
        variant = Variant("", method_from_json(values), 0)
        table = losses(search, variant, search.scorer.evaluation, ROUND_DRAWS, first=0)
        by_class = [table[:, :, labels == each].mean((1, 2)).max() for each in np.unique(labels)]
        worst = int(np.argmax(by_class))
        print(f"round {number}: class {worst} loses {100 * by_class[worst]:.1f}", flush=True)
        times = {**times, str(worst): times.get(str(worst), 1) + 1}
    return times


def explain(search: Search, bits: int, draws: int) -> None:
    """Print which class decides minimax ranges, draw by draw."""
    variant = Variant("", method_from_json({}), 0)
    for draw in range(draws):
        images = np.asarray(search.drawn_set(variant, FIRST_DRAW + draw).images)
        inputs = torch.from_numpy(search.audit.model.preprocessing(images))
        easiest, growth = easiest_decides(search.workload.prepared, inputs, bits)
        print(
            f"draw {draw}: the class that quantizes with the least error decides in {sum(easiest)} "
            f"of {len(easiest)} layers; the error of all images grows "
            f"{100 * (np.mean(growth) - 1):.1f} % on average",
            flush=True,
        )


def main() -> None:
    """Measure and print."""
    parser = one_setting(__doc__, "W4A4", 6)
    parser.add_argument("pairs", nargs="+", choices=PAIRS)
    parser.add_argument("--why", action="store_true", help="which class decides minimax ranges")
    given = parser.parse_args()
    register_all()
    weights, activations = bits_of(given.bits)
    bits = {"weight_bits": weights, "activation_bits": activations}
    print(f"{given.model}, {given.bits}, draws from {FIRST_DRAW} on")
    print("| method | worst class | worst segment | average | gain: worst class | average |")
    print("|---|---|---|---|---|---|")
    with opened() as project:
        study = Study(project, given.model, given.threads)
        search = study.search((weights, activations), LEVELS, given.draws)
        if given.why:
            explain(search, activations, given.draws)
            return
        evaluation = shifted_evaluation(search.audit.data, search.audit.shifts, "reference")
        segments = list(project.document("group_definitions", GroupDefinitions).segments)
        for pair in given.pairs:
            plain = None
            for form, values in zip(("plain", "worst group"), PAIRS[pair], strict=True):
                weighted = pair == "weighted_gptq" and plain is not None
                times = {"times": moved(search, bits)} if weighted else {}
                # Coverage chooses 256 of 1,024 random images.
                drawn = {"set_size": 1024} if pair == "coverage" else {}
                variant = Variant(form, method_from_json(bits | values | times), 0, drawn)
                table = losses(search, variant, evaluation, given.draws)
                found = dict(measures(table, evaluation.samples, segments))
                plain = plain or found
                cells = " | ".join(shown(each) for each in found.values())
                gains = [shown(plain[key] - found[key]) for key in ("class", "average")]
                gain = " | ".join(gains if plain is not found else ["", ""])
                print(f"| {pair}, {form} | {cells} | {gain} |", flush=True)


if __name__ == "__main__":
    main()
