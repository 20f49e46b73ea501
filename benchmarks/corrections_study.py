"""What corrections after rounding do to the worst class, each on the same calibration sets.

Usage: ``python benchmarks/corrections_study.py --model resnet20 --bits W4A8 --draws 5`` after
``kedro run --pipelines data_loading``. The table is of the ``reference`` images under all shifts;
nothing is chosen. Gains are against no correction, draw by draw.
"""

from repair_study import FIRST_DRAW, Study, bits_of, losses, measures, one_setting, shown

from ptq_pipeline.core.group_ids import GroupDefinitions
from ptq_pipeline.project import opened
from ptq_pipeline.ptq import method_from_json
from ptq_pipeline.routines.repair.search import LEVELS
from ptq_pipeline.routines.repair.space import CORRECTIONS, Variant
from ptq_pipeline.trials.evaluation import shifted_evaluation


def main() -> None:
    """Measure and print."""
    parser = one_setting(__doc__, "W4A8", 5)
    parser.add_argument("--method", default="nearest")
    given = parser.parse_args()
    weights, activations = bits_of(given.bits)
    print(f"{given.model}, {given.bits}, {given.method}, draws from {FIRST_DRAW} on")
    print("| corrections | worst class | worst segment | average | gain in the worst class |")
    print("|---|---|---|---|---|")
    with opened() as project:
        study = Study(project, given.model, given.threads)
        search = study.search((weights, activations), LEVELS, given.draws)
        evaluation = shifted_evaluation(search.audit.data, search.audit.shifts, "reference")
        segments = list(project.document("group_definitions", GroupDefinitions).segments)
        bits = {"weight_bits": weights, "activation_bits": activations, "name": given.method}
        plain = None
        for names in CORRECTIONS:
            method = method_from_json(bits | {"corrections": list(names)})
            table = losses(search, Variant(", ".join(names), method, 0), evaluation, given.draws)
            found = dict(measures(table, evaluation.samples, segments))
            plain = found["class"] if plain is None else plain
            cells = " | ".join(shown(values) for values in found.values())
            gain = "" if plain is found["class"] else shown(plain - found["class"])
            print(f"| {', '.join(names) or 'none'} | {cells} | {gain} |", flush=True)


if __name__ == "__main__":
    main()
