"""``kedro ptq plan``: what an audit will take and what it can prove, before anything runs."""

from typing import TYPE_CHECKING, Any

import click

from ptq_pipeline.commands.project import mount_option, opened
from ptq_pipeline.commands.running import command, env_option, json_option, print_json

if TYPE_CHECKING:
    from ptq_pipeline.commands.project import Mount
    from ptq_pipeline.reliability.budget import BudgetPlan

SHOWN_GROUPS = 8


@command("plan", epilog="Example: kedro ptq plan --env quick")
@env_option
@mount_option
@json_option
@click.option("--no-measurement", is_flag=True, help="Leave out the time; nothing is executed.")
def plan(env: str | None, mount: str | None, as_json: bool, no_measurement: bool) -> None:
    """Say draws, forward passes, time, and what the budget can prove at best."""
    with opened(env, mount) as project:
        budget, work = planned(project)
        seconds, right = None, []
        if not no_measurement:
            seconds, right = _seconds(project, work), _float_accuracies(project)
    if as_json:
        content = {"budget": budget.to_json(), "work": work, "seconds": seconds}
        print_json({**content, "float_accuracy": right})
        return
    _print(budget, work, seconds)
    for each in right:
        _print_float(each)


def planned(project: "Mount") -> "tuple[BudgetPlan, dict[str, int]]":
    """Return what the budget can show, and the work that it is."""
    from ptq_pipeline.pipelines.calibration.parameters import CalibrationParameters
    from ptq_pipeline.pipelines.quantization.parameters import (
        QuantizationParameters,
        StressParameters,
    )
    from ptq_pipeline.pipelines.subgroup_scoring.nodes import define_groups
    from ptq_pipeline.pipelines.subgroup_scoring.parameters import SubgroupScoringParameters
    from ptq_pipeline.pipelines.worst_case_check.nodes import check_names, propose_groups
    from ptq_pipeline.pipelines.worst_case_check.parameters import (
        BusinessParameters,
        WorstCaseCheckParameters,
    )
    from ptq_pipeline.reliability.budget import group_counts, plan_budget

    calibration = CalibrationParameters.model_validate(_group(project, "calibration"))
    policy = WorstCaseCheckParameters.model_validate(_group(project, "worst_case_check"))
    shifts = StressParameters.model_validate(_group(project, "stress"))
    quantization = QuantizationParameters.model_validate(_group(project, "quantization"))
    samples, definitions = project.load("samples"), project.load("group_definitions")
    profiles = project.load("profiles")
    scoring = SubgroupScoringParameters.model_validate(_group(project, "subgroup_scoring"))
    business = BusinessParameters.model_validate(_group(project, "business"))
    ledger = project.load("audit_ledger")
    groups = define_groups(samples, definitions, scoring)
    check_names(groups, policy, shifts, business, ledger, profiles)
    counts = group_counts(groups)
    if policy.representatives is not None:
        chosen = propose_groups(samples, profiles, definitions, policy)
        keys = {(each["level"], each["group"]) for each in chosen}
        kept = [key in keys for key in zip(counts["level"], counts["group"], strict=True)]
        counts = counts[kept]
    budget = plan_budget(
        *(counts, policy, [*shifts.root, *groups.conditions], calibration.draws),
        groups.cluster_sizes,
    )
    selection, audit = (int((samples["split"] == split).sum()) for split in ("selection", "audit"))
    comparisons = len(calibration.comparison_strategies) * calibration.comparison_draws
    per_draw = (selection + audit) * len(shifts.root)
    work = {
        "draws": calibration.draws,
        "comparison_sets": comparisons,
        "set_size": calibration.set_size,
        "shifts": len(shifts.root),
        "parity_draws": quantization.parity_draws,
        "images_per_draw": per_draw,
        "images_per_comparison": selection * len(shifts.root),
        "selection_images": selection,
        "forward_passes": calibration.draws * per_draw
        + comparisons * selection * len(shifts.root)
        + per_draw,
        "calibration_passes": (calibration.draws + comparisons) * calibration.set_size,
    }
    return budget, work


def _group(project: "Mount", name: str) -> dict[str, Any]:
    """Return a parameter group; Kedro gives those that nodes read as models already."""
    values = project.group(name)
    return values["root"] if set(values) == {"root"} else values


def _seconds(project: "Mount", work: dict[str, int]) -> float:
    from ptq_pipeline.pipelines.quantization.measurement import expected_seconds
    from ptq_pipeline.pipelines.quantization.parameters import QuantizationParameters

    parameters = QuantizationParameters.model_validate(_group(project, "quantization"))
    name = f"{project.name}.float_model" if project.name else "float_model"
    # The weights are brought, not made, so there is nothing that a pipeline would have to make.
    model = project.catalog.load(name)
    samples, images = project.load("samples"), project.load("images")
    rest = _rest(project)
    return round(expected_seconds(model, samples, images, parameters, work, rest), 1)


def _float_accuracies(project: "Mount") -> list[dict[str, Any]]:
    """Return how often the float model is right under each shift, on some audit images."""
    from ptq_pipeline.pipelines.quantization.measurement import float_accuracies
    from ptq_pipeline.pipelines.quantization.parameters import StressParameters
    from ptq_pipeline.pipelines.worst_case_check.parameters import WorstCaseCheckParameters
    from ptq_pipeline.reliability.judging import accuracy_lower_bound

    policy = WorstCaseCheckParameters.model_validate(_group(project, "worst_case_check"))
    shifts = StressParameters.model_validate(_group(project, "stress"))
    model = project.load("float_model")
    floor = policy.floor("average", len(model.classes))
    found = float_accuracies(model, project.load("samples"), project.load("images"), shifts.root)
    return [
        {
            **{"shift": shift, "n": n, "accuracy": right / n, "floor": floor},
            # Not even these few images leave it possible that the model is above its floor.
            "destroyed": 1 - accuracy_lower_bound(n - right, n, policy.alpha) <= floor,
        }
        for shift, (right, n) in found.items()
    ]


def _print_float(seen: dict[str, Any]) -> None:
    text = (
        f"the float model is right on {100 * seen['accuracy']:.1f} % of {seen['n']} audit images "
        f"under {seen['shift']}"
    )
    if seen["destroyed"]:
        click.echo(
            f"No PASS: {text}, below its floor of {100 * seen['floor']:.1f} %: nothing is left to "
            "lose there. Weaken the shift or leave it out."
        )
    else:
        click.echo(f"{text[0].upper()}{text[1:]}.")


def _rest(project: "Mount") -> float | None:
    """Return what the last run of this environment took beside trials; None before the first."""
    from ptq_pipeline.errors import InputError
    from ptq_pipeline.pipelines.data_loading import create_pipeline
    from ptq_pipeline.pipelines.quantization.measurement import seconds_beside_trials

    try:
        last = project.load("provenance")
    except InputError:
        return None
    return seconds_beside_trials(last, [node.name for node in create_pipeline().nodes])


def _print(budget: "BudgetPlan", work: dict[str, Any], seconds: float | None) -> None:
    click.echo(
        f"Draws: {work['draws']} of the recipe, {work['comparison_sets']} for comparison; "
        f"{work['set_size']} images each; {work['shifts']} shifts."
    )
    click.echo(
        f"Forward passes: {work['forward_passes']:,} to evaluate, at most "
        f"{work['calibration_passes']:,} to calibrate."
    )
    if seconds is not None:
        click.echo(
            f"Expected time here, with an empty store and after data_loading: {seconds:.0f} s."
        )
    click.echo(f"At best: {budget.best}.")
    if budget.can_pass:
        click.echo(f"It can PASS, with up to {budget.allowed} of {budget.draws} draws left open.")
    for obstacle in budget.obstacles:
        click.echo(f"No PASS: {obstacle}")
    for group in budget.groups:
        if group.left_out and not group.blocks:
            click.echo(
                f"Not judged, and policy allows it: {group.level} {group.group} "
                f"(n={group.n}, needs {group.needed_n})"
            )
    for sentence in budget.unprovable:
        click.echo(f"A level that cannot be judged: {sentence}")
    click.echo(f"Cheapest budget that could PASS: {budget.cheapest_draws} draws, all shown good.")
    if budget.early_pass is not None:
        price = budget.early_pass
        click.echo(
            f"An earlier look for PASS at {price['look_at']} draws would cost: "
            f"{price['allowed']} instead of {price['allowed_without']} draws may stay open, image "
            f"level {100 * price['alpha_image']:.2g} % instead of "
            f"{100 * price['alpha_image_without']:.2g} %."
        )
    judged = sum(group.judged for group in budget.groups)
    click.echo(f"Groups: {judged} of {len(budget.groups)} judged. Hardest to show:")
    known = [group for group in budget.groups if group.power is not None]
    for group in sorted(known, key=lambda each: each.power or (0, 0))[:SHOWN_GROUPS]:
        first, second = group.power or (0.0, 0.0)
        click.echo(
            f"  {group.level} {group.group}: n={group.n}, limit {100 * group.limit:g} points, at "
            f"least {100 * group.provable:.1f} provable; shown in one draw with {100 * first:.0f} "
            f"% ({100 * second:.0f} %) if 1 % (3 %) of answers change"
        )
