"""Repair: the recipe whose worst group is best, searched on `selection`, then audited once."""

import math
from pathlib import Path
from typing import Any

from ptq_pipeline.artifact.speed import CandidateSpeed
from ptq_pipeline.calibration.strategy import Pool
from ptq_pipeline.core.documents import Document
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.exits import ExitCode
from ptq_pipeline.core.group_ids import GroupDefinitions
from ptq_pipeline.core.grouping import SubgroupScoringParameters
from ptq_pipeline.judgement.policy import Policy
from ptq_pipeline.judgement.verdict import Verdict
from ptq_pipeline.project import Project, opened
from ptq_pipeline.routines.audits import audit_of
from ptq_pipeline.routines.repair.environment import (
    changes_of,
    check_environment,
    of_mount,
    write_environment,
)
from ptq_pipeline.routines.repair.parameters import RepairParameters
from ptq_pipeline.routines.repair.search import Search, Tried, Watch
from ptq_pipeline.routines.repair.space import AS_IT_IS, variants

LEVELS = ("average", "class", "segment")
REPAIR_FILE = "repair.json"
SPEED_FILE = "candidate_speed.json"
FIGURE_FILE = "repair.svg"


class TriedRecipe(Document):
    """A row of the table: what a recipe loses on the selection images.

    Attributes:
        name: what differs.
        draws: calibration sets that it was tried with.
        size: bytes of its packed weights, scales and biases.
        limit_share: the share of its limit that the worst group takes; None after an error.
        level, group, shift: that group.
        average, worst_class, worst_segment: largest mean drops under any shift, in points.
        changes: parameters that make this recipe of the configured one, by group.
        error: why it failed, or "".
    """

    name: str
    draws: int
    size: int
    limit_share: float | None
    level: str = ""
    group: str = ""
    shift: str = ""
    average: float | None = None
    worst_class: float | None = None
    worst_segment: float | None = None
    changes: dict[str, Any]
    error: str = ""


class Repair(Document):
    """What a search found, ``repair.json``.

    Attributes:
        recipes: the best first.
        helps: whether the first one is better than the configured recipe.
        holds: whether its mean drops keep every limit on the selection images.
        says: one sentence: what changed, what it buys, what it costs.
        notes: what was left out, and why.
        environment: written for `kedro run --env`; None where nothing helps.
        verdict: of the winner's audit; None before it.
        headline: of the same.
        latency_ms: milliseconds of one image in the winner's file, as its audit measured them.
        configured_latency_ms: of the configured recipe's, by its own last audit.
    """

    schema_version: int = 1
    recipes: tuple[TriedRecipe, ...]
    helps: bool
    holds: bool
    says: str
    notes: tuple[str, ...] = ()
    environment: str | None = None
    verdict: str | None = None
    headline: str = ""
    latency_ms: float | None = None
    configured_latency_ms: float | None = None

    @property
    def code(self) -> ExitCode:
        """What a command exits with."""
        if self.verdict is None:
            return ExitCode.DONE if self.helps and self.holds else ExitCode.REFUSED
        return {"PASS": ExitCode.DONE, "FAIL": ExitCode.REFUSED}.get(
            self.verdict, ExitCode.INCONCLUSIVE
        )


def needs_repair(project: Project) -> Verdict:
    """Return the verdict of the last audit.

    Raises:
        InputError: there is none.
    """
    try:
        return project.document("verdict", Verdict)
    except InputError as error:
        raise InputError(
            f"there is no verdict to repair ({error}); run `kedro run` first, or search before any "
            "audit with --from-scratch"
        ) from error


def search_recipe(project: Project, watch: Watch | None = None) -> Repair:
    """Search on the selection images; the audit images are not opened.

    Raises:
        InputError: a setting, a constraint or the data do not allow a search.
    """
    parameters = project.settings("repair", RepairParameters)
    policy = project.settings("worst_case_check", Policy)
    audit = audit_of(project)
    definitions = project.document("group_definitions", GroupDefinitions)
    samples = audit.data.samples
    scoring = project.settings("subgroup_scoring", SubgroupScoringParameters)
    search = Search(
        audit,
        Pool.from_samples(samples, definitions, profiles=project.load("profiles")),
        project.group("calibration"),
        scoring.build(audit.data.evaluated, definitions),
        policy,
        parameters,
        **({} if watch is None else {"watch": watch}),
    )
    tried_recipes, notes = variants(
        search.workload.prepared, audit.recipe.method, search.calibration, parameters
    )
    tried = search.run(tried_recipes)
    own = next(each for each in tried if each.variant.name == AS_IT_IS)
    best = tried[0]
    helps = best.better_than(own)
    rows = tuple(_row(each, project) for each in tried)
    return Repair(
        recipes=rows,
        helps=helps,
        holds=best.score <= 1.0,
        says=_says(best, own, helps),
        notes=(*notes, *search.notes),
    )


def repair(project: Project, name: str, watch: Watch | None = None, audit: bool = True) -> Repair:
    """Search, write the winner as environment ``name``, and audit it once.

    The audit is entered in the ledger like every other. It is left out where the winner does not
    keep its limits even on the selection images.

    Raises:
        InputError: as from `search_recipe`, or the environment is somebody else's.
    """
    folder = check_environment(project.root, name)
    # A ledger that cannot be read is an error before anything else happens.
    project.load("audit_ledger").entries()
    found = search_recipe(project, watch)
    if not found.helps:
        return found
    changes = found.recipes[0].changes
    if project.name:
        changes = of_mount(project.name, project.parameters[project.name], changes)
    write_environment(folder, changes, found.says, _origin(project))
    found = found.model_copy(update={"environment": name})
    if not (audit and found.holds):
        return found
    with opened(name, project.name or None) as repaired:
        repaired.run("__default__")
        verdict = repaired.document("verdict", Verdict)
        measured = {
            "latency_ms": _latency(repaired),
            "configured_latency_ms": _latency(project),
        }
    judged = {"verdict": verdict.result, "headline": verdict.headline}
    return found.model_copy(update=judged | measured)


def _latency(project: Project) -> float | None:
    """Return what the last audit measured, if it came to that."""
    try:
        speed: CandidateSpeed | None = project.load("candidate_speed")
    except InputError:
        return None
    return speed.candidate.latency_ms if speed and speed.candidate else None


def _origin(project: Project) -> Path | None:
    """Return the folder of the environment that the search ran in; `base` is below every other."""
    env = project.env or "local"
    return None if env == "base" else project.root / "conf" / env


def _row(tried: Tried, project: Project) -> TriedRecipe:
    variant = tried.variant
    method = dict(project.group("quantization").get("method", {}))
    known = {
        "name": variant.name,
        "draws": len(tried.drops),
        "size": variant.size,
        "changes": changes_of(variant, method, project.group("calibration")),
        "error": tried.error,
    }
    if tried.error or not tried.drops:
        return TriedRecipe(**known, limit_share=None)
    average, worst_class, worst_segment = (
        None if math.isnan(value := tried.largest(level)) else round(value, 4) for level in LEVELS
    )
    return TriedRecipe(
        **known,
        limit_share=round(tried.score, 6),
        **tried.place._asdict(),
        average=average,
        worst_class=worst_class,
        worst_segment=worst_segment,
    )


def _says(best: Tried, own: Tried, helps: bool) -> str:
    if own.error:
        before = "the configured recipe failed"
    else:
        before = (
            f"the configured recipe's worst group ({own.place.group} under {own.place.shift}) "
            f"loses {100 * own.mean[own.worst]:.1f} points, {100 * own.score:.0f} % of its limit"
        )
    if not helps:
        return f"Nothing that was tried helps: {before} on the selection images."
    growth = best.variant.size - own.variant.size
    cost = "at the same size" if growth == 0 else f"for {growth:+,} bytes"
    return (
        f"'{best.variant.name}' {cost}: its worst group ({best.place.group} under "
        f"{best.place.shift}) loses {100 * best.mean[best.worst]:.1f} points on the selection "
        f"images, {100 * best.score:.0f} % of its limit, in the mean of {len(best.drops)} draws; "
        f"{before}."
    )
