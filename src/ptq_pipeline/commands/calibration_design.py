"""``kedro ptq calibration design``: search for a better calibration set, confirm it once."""

from typing import Any

import click

from ptq_pipeline.calibration.draws import check_size
from ptq_pipeline.calibration.strategy import Pool
from ptq_pipeline.commands.running import Answer, project_command
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.images.audit_data import AuditData
from ptq_pipeline.judgement.champion import audit_hash
from ptq_pipeline.pipelines.benchmark.design import Score, candidates, confirm, search, worst_drop
from ptq_pipeline.pipelines.benchmark.grid import Sets
from ptq_pipeline.project import Project
from ptq_pipeline.stress.shifts import StressParameters
from ptq_pipeline.trials.audit import Audit
from ptq_pipeline.trials.evaluation import shifted_evaluation
from ptq_pipeline.trials.execution import TrialRunner
from ptq_pipeline.trials.recipe import Recipe

ALPHA = 0.05


@project_command("design", epilog="Example: kedro ptq calibration design --sizes 64,256 --draws 4")
@click.option("--sizes", default="64,256,1024", help="Sizes of the sets, with commas between.")
@click.option("--draws", default=4, type=click.IntRange(1), help="Draws of the last designs.")
def design(project: Project, sizes: str, draws: int) -> Answer:
    """Search size, composition and augmentation for the best worst group.

    The search sees the selection images only. Its one winner is entered in the audit ledger and
    compared on the audit images with random sets of the same size.
    """
    content = _design(project, _sizes(sizes), draws)
    lines = [
        *(
            f"{each['mean']:7.2f}  {each['size']:>5}  {each['name']}"
            for each in content["designs"][:5]
        ),
        f"opening {content['opening']} of this audit for a design",
        content["says"],
        f"winner: {content['winner']}",
    ]
    return Answer(content, lines)


def _sizes(text: str) -> list[int]:
    try:
        found = sorted({int(each) for each in text.split(",")})
    except ValueError:
        found = []
    if not found or found[0] < 2:
        raise InputError(f"--sizes: give whole numbers from 2 on, such as 64,256; got '{text}'")
    return found


def _design(project: Project, sizes: list[int], draws: int) -> dict[str, Any]:
    # A ledger that cannot be read is an error before anything else happens.
    ledger = project.load("audit_ledger")
    samples, images = project.load("samples"), project.load("images")
    definitions, profiles = project.load("group_definitions"), project.load("profiles")
    pool = Pool.from_samples(samples, definitions, profiles=profiles)
    for size in sizes:
        check_size(pool, size)
    sets = Sets(pool, images, int(project.group("calibration")["seed"]), sizes[0])
    runner = _runner(project, images)
    found = search(candidates(sizes), _scorer(project, runner, sets, "selection"), draws)
    best = found[0]
    draw = min(range(len(best.scores)), key=best.scores.__getitem__)
    winner = sets(best.choice, draw)
    audit = samples[samples["split"] == "audit"].sort_values("sample_id")
    question = {
        "model": runner.model.fingerprint,
        "method": runner.method.to_json(),
        "set": winner.set_id,
        "shifts": {name: dict(options) for name, options in runner.shifts.items()},
    }
    entry = ledger.enter(audit_hash(audit["content_hash"]), "design", question)
    score = _scorer(project, runner, sets, "audit")
    result = confirm(score(best.choice, draw), winner.manifest.size, score, entry.level(ALPHA))
    return {
        "winner": winner.set_id,
        "choice": best.choice.model_dump(),
        "draw": draw,
        "opening": entry.index,
        "better": result.better,
        "p_value": result.p_value,
        "level": result.level,
        "worst_group_drop": result.winner,
        "random_drops": list(result.random),
        "says": result.says(),
        "designs": [
            {"name": _name(each.choice), "size": each.choice.size, "mean": each.mean}
            for each in found
        ],
    }


def _name(choice: Any) -> str:
    details = [f"{key}={value}" for key, value in choice.options.items()]
    if choice.augmentation:
        details.append(f"augmentation={choice.augmentation['kind']}")
    return " ".join([choice.strategy, *details])


def _runner(project: Project, images: Any) -> TrialRunner:
    recipe = project.settings("quantization", Recipe)
    data = AuditData(project.load("samples"), images)
    model, store = project.load("float_model"), project.load("trial_store")
    shifts = project.settings("stress", StressParameters)
    direct = recipe.model_copy(update={"statistics": "direct"})
    return Audit(data, model, store, shifts, direct).runner()


def _scorer(project: Project, runner: TrialRunner, sets: Sets, split: str) -> Score:
    data = AuditData(project.load("samples"), project.load("images"))
    evaluation = shifted_evaluation(data, StressParameters(runner.shifts), split)
    labels = evaluation.samples["label"].to_numpy()
    reference = runner.run(None, None, evaluation).predictions or {}

    def score(choice: Any, draw: int) -> float:
        drawn = sets(choice, draw)
        outcome = runner.run(drawn.set_id, drawn.images, evaluation)
        if outcome.predictions is None:
            raise InputError(f"calibration set {drawn.set_id} failed: {outcome.error}")
        return worst_drop(outcome.predictions, reference, labels, len(runner.model.classes))

    return score
