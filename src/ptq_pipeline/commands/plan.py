"""``kedro ptq plan``: what an audit will take and what it can prove, before anything runs."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import click

from ptq_pipeline.calibration.parameters import CalibrationParameters
from ptq_pipeline.commands.command import Answer
from ptq_pipeline.commands.project_command import project_command
from ptq_pipeline.core.documents import Document
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.group_ids import GroupDefinitions, GroupKey
from ptq_pipeline.core.grouping import SubgroupScoringParameters
from ptq_pipeline.core.groups import Groups
from ptq_pipeline.core.names import CLEAN
from ptq_pipeline.core.outcomes import Outcomes
from ptq_pipeline.judgement.business import Business
from ptq_pipeline.judgement.judged_groups import propose_representatives
from ptq_pipeline.judgement.judging import accuracy_lower_bound
from ptq_pipeline.judgement.openings import Opener, Opening, next_opening, spec_of
from ptq_pipeline.judgement.planning import BudgetPlan, group_counts, plan_budget
from ptq_pipeline.judgement.policy import Policy
from ptq_pipeline.judgement.prospect import PassChance, Prospect
from ptq_pipeline.judgement.question import Question
from ptq_pipeline.judgement.sampling import planned_share
from ptq_pipeline.judgement.sentences import cell_name
from ptq_pipeline.judgement.stopping import Scope
from ptq_pipeline.pipelines import data_loading
from ptq_pipeline.pipelines.quantization.measurement import (
    expected_seconds,
    float_accuracies,
    seconds_beside_trials,
)
from ptq_pipeline.pipelines.worst_case_check.nodes import (
    check_business,
    check_names,
)
from ptq_pipeline.project import Project
from ptq_pipeline.routines.audits import audit_of
from ptq_pipeline.stress.shifts import StressParameters
from ptq_pipeline.trials.recipe import Recipe

SHOWN_GROUPS = 8


@project_command(epilog="Example: kedro ptq plan --env quick")
@click.option("--no-measurement", is_flag=True, help="Leave out the time; nothing is executed.")
def plan(project: Project, no_measurement: bool) -> Answer:
    """Say draws, forward passes, time, and what the budget can prove at best."""
    budget, work, outlook = planned(project)
    seconds, right = None, []
    if not no_measurement:
        seconds, right = _measured(project, work)
    content = {"budget": budget.to_json(), "work": work, "seconds": seconds, **outlook.to_json()}
    lines = [*_lines(budget, work, seconds), *outlook.lines(), *map(_float_line, right)]
    return Answer({**content, "float_accuracy": right}, lines)


class Outlook(Document):
    """What the ledger leaves to the question, and how likely a PASS is.

    Attributes:
        question: Its place among the questions to these images.
        alpha: The level that it may spend.
        pass_chance: By the stored trials of this recipe; None where there are none, or no answers
            on selection images.
    """

    question: int
    alpha: float
    pass_chance: PassChance | None

    def lines(self) -> Iterator[str]:
        """Say it."""
        yield (
            f"Ledger: question {self.question} to these audit images, at a level of "
            f"{100 * self.alpha:.3g} %."
        )
        if (found := self.pass_chance) is None:
            yield (
                "Chance of PASS: not known before trials of this recipe have answered the "
                "selection images."
            )
            return
        yield (
            f"Chance of PASS: {100 * found.chance:.0f} %, recipe and candidate together, resampled "
            f"from {found.draws} draws on the selection images."
        )
        if found.blocker is not None:
            yield f"  Most often in the way: {cell_name(*found.blocker)}."
        yield from (f"  With {what}: {100 * chance:.0f} %." for what, chance in found.changes)


def planned(project: Project) -> tuple[BudgetPlan, dict[str, int], Outlook]:
    """Return what the budget can show, the work that it is, and how likely a PASS is."""
    calibration = project.settings("calibration", CalibrationParameters)
    policy = project.settings("worst_case_check", Policy)
    shifts = project.settings("stress", StressParameters)
    quantization = project.settings("quantization", Recipe)
    scoring = project.settings("subgroup_scoring", SubgroupScoringParameters)
    business = project.settings("business", Business)
    samples = project.load("samples")
    definitions = project.document("group_definitions", GroupDefinitions)
    profiles = project.load("profiles")
    ledger = project.load("audit_ledger")
    groups = scoring.build(samples, definitions)
    check_names(groups, policy, shifts, ledger, profiles)
    check_business(groups, business)
    counts, keys = group_counts(groups), set()
    if policy.representatives is not None:
        keys = {
            each.key for each in propose_representatives(samples, profiles, definitions, policy)
        }
        kept = [key in keys for key in zip(counts["level"], counts["group"], strict=True)]
        counts = counts[kept]
    opener = Opener.of(ledger, samples)
    question, opening = _asked(project, groups, policy, sorted(keys), opener)
    budget = plan_budget(
        counts,
        policy,
        [*shifts.root, *groups.conditions],
        calibration.draws,
        groups.cluster_sizes,
        opening=opening,
    )
    assert opening.entry is not None
    chance = None if question is None else _chance(project, groups, question)
    index, alpha = opening.entry.index, opening.policy.alpha
    outlook = Outlook(question=index, alpha=alpha, pass_chance=chance)
    return budget, _work(groups, calibration, policy, shifts, quantization), outlook


def _work(
    groups: Groups,
    calibration: CalibrationParameters,
    policy: Policy,
    shifts: StressParameters,
    quantization: Recipe,
) -> dict[str, int]:
    """Count draws, sets and images."""
    selection, audit = (int((groups.split == split).sum()) for split in ("selection", "audit"))
    comparisons = len(calibration.comparison_strategies) * calibration.comparison_draws
    per_draw = (selection + audit) * len(shifts.root)
    evaluated = calibration.draws * per_draw
    if policy.evaluation == "sampled":
        share = planned_share(groups, policy, list(shifts.root))
        full = min(policy.sampling.full, calibration.draws)
        sampled = (calibration.draws - full) * share * audit * len(shifts.root)
        evaluated = full * per_draw + round(sampled)
    return {
        "draws": calibration.draws,
        "evaluated": evaluated,
        "comparison_sets": comparisons,
        "set_size": calibration.set_size,
        "shifts": len(shifts.root),
        "parity_draws": quantization.parity_draws,
        "images_per_draw": per_draw,
        "images_per_comparison": selection * len(shifts.root),
        "selection_images": selection,
        "forward_passes": evaluated + comparisons * selection * len(shifts.root) + per_draw,
        "calibration_passes": (calibration.draws + comparisons) * calibration.set_size,
    }


def _asked(
    project: Project,
    groups: Groups,
    policy: Policy,
    only: Sequence[GroupKey],
    opener: Opener,
) -> tuple[Question | None, Opening]:
    """Return what will be asked where trials of this recipe are stored, and what it may spend."""
    try:
        trials, index = project.load("trials"), project.load("calibration_set_index")
    except InputError:
        spec: dict[str, Any] = {}
    else:
        spec = spec_of(trials)
    recipe = project.settings("quantization", Recipe)
    shifts = list(project.settings("stress", StressParameters).root)
    strategy = project.settings("calibration", CalibrationParameters).strategy
    if spec.get("method") == recipe.method.to_json() and set(shifts) == set(spec["shifts"]):
        scope = Scope.planned(index, groups, policy, only, opener)
        if scope.draws.strategy == strategy:
            question = scope.question(shifts, spec, enter=False)
            return question, question.opening
    return None, next_opening(opener, policy)


def _chance(project: Project, groups: Groups, question: Question) -> PassChance | None:
    """Return how likely a PASS is by the stored answers on the selection images."""
    trials = project.load("trials")
    own = trials[(trials["role"] == "evidence") & (trials["status"] == "done")]
    if own.empty or "selection" not in groups.split:
        return None
    answers = project.load("predictions")
    answers = answers[answers["trial_id"].isin(own["trial_id"])]
    outcomes = Outcomes.pair(answers, project.load("float_predictions"), groups)
    return Prospect.of(question, outcomes, list(outcomes.trial_ids)).chance()


def _rest(project: Project) -> float | None:
    """Return what the last run of this environment took beside trials; None before the first."""
    try:
        loading = [node.name for node in data_loading.create_pipeline().nodes]
        return seconds_beside_trials(project.load("provenance"), loading)
    except InputError:
        return None


def _measured(project: Project, work: dict[str, int]) -> tuple[float, list[dict[str, Any]]]:
    """Return the seconds of the audit, and how often the float model is right under each shift."""
    audit = audit_of(project)
    clean = replace(audit, shifts=StressParameters({CLEAN: {}}))
    seconds = round(expected_seconds(clean, work, _rest(project)), 1)
    policy = project.settings("worst_case_check", Policy)
    floor = policy.float_floor.of("average", len(audit.model.classes))
    return seconds, [
        {
            "shift": shift,
            "n": n,
            "accuracy": right / n,
            "floor": floor,
            # Not even these few images leave it possible that the model is above its floor.
            "destroyed": 1 - accuracy_lower_bound(n - right, n, policy.alpha) <= floor,
        }
        for shift, (right, n) in float_accuracies(audit).items()
    ]


def _float_line(seen: dict[str, Any]) -> str:
    text = (
        f"the float model is right on {100 * seen['accuracy']:.1f} % of {seen['n']} audit images "
        f"under {seen['shift']}"
    )
    if seen["destroyed"]:
        return (
            f"No PASS: {text}, below its floor of {100 * seen['floor']:.1f} %: nothing is left to "
            "lose there. Weaken the shift or leave it out."
        )
    return f"{text[0].upper()}{text[1:]}."


def _lines(budget: BudgetPlan, work: dict[str, Any], seconds: float | None) -> Iterator[str]:
    yield (
        f"Draws: {work['draws']} of the recipe, {work['comparison_sets']} for comparison; "
        f"{work['set_size']} images each; {work['shifts']} shifts."
    )
    yield (
        f"Forward passes: {work['forward_passes']:,} to evaluate, at most "
        f"{work['calibration_passes']:,} to calibrate."
    )
    if seconds is not None:
        yield f"Expected time here, with an empty store and after data_loading: {seconds:.0f} s."
    yield f"At best: {budget.best}."
    if budget.can_pass:
        yield f"It can PASS, with up to {budget.allowed} of {budget.draws} draws left open."
    yield from (f"No PASS: {obstacle}" for obstacle in budget.obstacles)
    for group in budget.groups:
        if group.left_out and not group.blocks:
            yield (
                f"Not judged, and policy allows it: {group.level} {group.group} "
                f"(n={group.n}, needs {group.needed_n})"
            )
    yield from (f"A level that cannot be judged: {sentence}" for sentence in budget.unprovable)
    yield f"Cheapest budget that could PASS: {budget.cheapest_draws} draws, all shown good."
    if budget.early_pass is not None:
        price = budget.early_pass
        room = (
            f"{price.allowed} instead of {price.allowed_without} draws may stay open, "
            if price.allowed != price.allowed_without
            else ""
        )
        yield (
            f"An earlier look for PASS at {price.look_at} draws would cost: {room}groups are "
            f"tested at {100 * price.alpha_image:.2g} % instead of "
            f"{100 * price.alpha_image_without:.2g} %."
        )
    judged = sum(group.judged for group in budget.groups)
    yield f"Groups: {judged} of {len(budget.groups)} judged. Hardest to show:"
    known = [group for group in budget.groups if group.power is not None]
    for group in sorted(known, key=lambda each: each.power or (0, 0))[:SHOWN_GROUPS]:
        first, second = group.power or (0.0, 0.0)
        yield (
            f"  {group.level} {group.group}: n={group.n}, limit {100 * group.limit:g} points, at "
            f"least {100 * group.provable:.1f} provable; shown in one draw with {100 * first:.0f} "
            f"% ({100 * second:.0f} %) if 1 % (3 %) of answers change"
        )
