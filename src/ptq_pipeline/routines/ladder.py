"""The ladder: recipes in the order in which they are tried until one passes."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ptq_pipeline.core.canonical import canonical_hash
from ptq_pipeline.core.documents import Document
from ptq_pipeline.core.errors import InputError, PtqPipelineError
from ptq_pipeline.core.exits import ExitCode
from ptq_pipeline.core.group_ids import GroupDefinitions
from ptq_pipeline.core.grouping import SubgroupScoringParameters
from ptq_pipeline.judgement.baseline import Baseline
from ptq_pipeline.judgement.decision import Decision
from ptq_pipeline.judgement.openings import Opener
from ptq_pipeline.judgement.policy import Policy
from ptq_pipeline.judgement.verdict import Verdict
from ptq_pipeline.monitoring.reaudit import (
    ChampionAnswers,
    Holding,
    Reaudit,
    open_reaudit,
    reaudit,
)
from ptq_pipeline.project import Project
from ptq_pipeline.registry.release import note
from ptq_pipeline.registry.store import Champion
from ptq_pipeline.routines.repair import search_recipe

log = logging.getLogger(__name__)

STOP_AT = ("promote", "inconclusive")


class Step(BaseModel):
    """One recipe, by what it changes of the configured one.

    Attributes:
        name: what it is called in reports and records.
        calibration: changes of the parameter group ``calibration``.
        quantization: changes of the parameter group ``quantization``.
        repair: whether the recipe is searched, as by `kedro ptq repair`; it changes nothing else.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)
    calibration: dict[str, Any] = {}
    quantization: dict[str, Any] = {}
    repair: bool = False

    @model_validator(mode="after")
    def _searched_alone(self) -> Self:
        if self.repair and (self.calibration or self.quantization):
            raise ValueError(
                f"recipe '{self.name}': a step with 'repair' finds its changes itself; leave "
                "'calibration' and 'quantization' out"
            )
        return self

    @property
    def identity(self) -> str:
        """Hash of what it tries."""
        return "repair" if self.repair else canonical_hash(self.changes())

    def changes(self) -> dict[str, Any]:
        """Return the runtime parameters that make this recipe of the configured one."""
        groups = {"calibration": self.calibration, "quantization": self.quantization}
        return {name: dict(values) for name, values in groups.items() if values}


class LadderParameters(BaseModel):
    """Recipes in the order in which they are tried.

    Attributes:
        recipes: the steps, all different.
        fallback: what serves when none passes and the champion was shown to fail.
        by: who releases.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    recipes: tuple[Step, ...] = Field(min_length=1)
    fallback: Literal["champion", "float"] = "champion"
    by: str = Field(default="kedro ptq watch", min_length=1)

    def serve(self, champion: bool, failed: bool) -> Literal["champion", "float"] | None:
        """Return what should serve when no recipe passed.

        A champion that was not *shown* to fail keeps serving.
        """
        if not champion:
            return None
        return self.fallback if failed else "champion"

    @model_validator(mode="after")
    def _different(self) -> Self:
        for key in ("name", "changes"):
            seen: dict[str, str] = {}
            for step in self.recipes:
                value = step.name if key == "name" else step.identity
                if value in seen:
                    raise ValueError(f"recipes '{seen[value]}' and '{step.name}' are the same")
                seen[value] = step.name
        return self


class Rung(Document):
    """What came of one step.

    Attributes:
        name: the step.
        decision: promote, refuse or inconclusive; "error" when it could not be tried.
        headline: one sentence about it.
        decision_hash: hash of the decision; None after an error.
        changes: what a searched step was found to change; of other steps the ladder says it.
    """

    added: ClassVar[frozenset[str]] = frozenset({"changes"})

    name: str
    decision: str
    headline: str
    decision_hash: str | None = None
    changes: dict[str, Any] = {}


def attempt(
    project: Project, pipeline: str, step: Step, changes: Mapping[str, Any], within: str = ""
) -> Rung:
    """Run one recipe and read what was decided; a recipe that cannot be tried is a refusal.

    Args:
        project: where it runs.
        pipeline: what runs.
        step: the recipe.
        changes: other parameters to change, by group.
        within: namespace of its documents in the catalog.
    """
    log.info("%s, recipe '%s'", "audit" if pipeline == "__default__" else pipeline, step.name)
    own = step.changes()
    try:
        if step.repair:
            found = search_recipe(project)
            if not found.helps:
                return Rung(name=step.name, decision="refuse", headline=found.says)
            own = found.recipes[0].changes
        project.run(pipeline, {**changes, **own})
    except PtqPipelineError as error:
        log.warning("recipe '%s' could not be tried: %s", step.name, error)
        return Rung(name=step.name, decision="error", headline=str(error))
    decision = project.document(f"{within}decision", Decision)
    return Rung(
        name=step.name,
        decision=decision.outcome,
        headline=project.document(f"{within}verdict", Verdict).headline,
        decision_hash=decision.hash,
        changes=own if step.repair else {},
    )


def climb(
    ladder: LadderParameters, audit: Callable[[Step], Rung], *, stop_at: tuple[str, ...]
) -> list[Rung]:
    """Audit the steps in order until one comes to a decision in ``stop_at``; say what came."""
    tried: list[Rung] = []
    for step in ladder.recipes:
        tried.append(audit(step))
        if tried[-1].decision in stop_at:
            break
    return tried


class Ending(StrEnum):
    """How a ladder of audits ended."""

    PASSED = "passed"
    INCONCLUSIVE = "inconclusive"
    RETRAINING = "retraining needed"

    @property
    def code(self) -> ExitCode:
        """What a command exits with."""
        return {
            Ending.PASSED: ExitCode.DONE,
            Ending.INCONCLUSIVE: ExitCode.INCONCLUSIVE,
            Ending.RETRAINING: ExitCode.NO_CANDIDATE_PASSED,
        }[self]


def spend(ladder: LadderParameters, policy: Policy) -> dict[str, Any]:
    """Return what makes the recipes of a ladder share alpha, by parameter group.

    Where policy only warns of questions that were asked before, each recipe gets the same part, so
    the chance that any of the ladder passes wrongly stays at alpha. A policy with another rule
    says itself what they may spend.
    """
    if policy.ledger.rule != "warn" or len(ladder.recipes) == 1:
        return {}
    return {"worst_case_check": {"alpha": policy.alpha / len(ladder.recipes)}}


def conclude(rungs: Sequence[Rung]) -> Ending:
    """Say what the recipes that were tried amount to.

    Raises:
        InputError: none could be tried, so nothing is known about any of them.
    """
    if all(rung.decision == "error" for rung in rungs):
        raise InputError(f"no recipe of the ladder could be tried: {rungs[-1].headline}")
    endings = {"promote": Ending.PASSED, "inconclusive": Ending.INCONCLUSIVE}
    return endings.get(rungs[-1].decision, Ending.RETRAINING)


def audit_recipes(project: Project) -> dict[str, Any]:
    """Audit the recipes of the ladder until one is not refused; record it when all are.

    The champion is not moved. When every recipe was refused, its stored answers are judged by the
    policy as it is now, so that a champion that fails as well does not pass for a way out.

    Raises:
        InputError: No recipe could be tried.
    """
    ladder = project.settings("ladder", LadderParameters)
    # A champion that cannot be read is an error before anything else happens.
    champion = project.load("registry").champion()
    spending = spend(ladder, project.settings("worst_case_check", Policy))
    rungs = climb(
        ladder, lambda step: attempt(project, "__default__", step, spending), stop_at=STOP_AT
    )
    ending = conclude(rungs)
    evidence = {"ladder": [rung.to_json() for rung in rungs]}
    report = evidence | {
        "action": str(ending),
        "champion": champion.version if champion else None,
        "exit_code": int(ending.code),
    }
    if ending is not Ending.RETRAINING:
        step = next(each for each in ladder.recipes if each.name == rungs[-1].name)
        changes = rungs[-1].changes or step.changes()
        return report | {"reason": _way_on(ending, step.name, changes), "changes": changes}
    held = _judge_champion(project, champion) if champion else None
    serve = ladder.serve(champion is not None, bool(held) and held.result is Holding.FAILS)
    unknown = champion and {"champion": champion.version, "result": "UNKNOWN"}
    kept = held.without_cells() if held else unknown
    content = {
        "outcome": str(ending),
        "serve": serve,
        "trigger": "ladder",
        "evidence": evidence | {"champion": kept},
    }
    record = note(project.load("registry"), content, datetime.now(UTC)).sequence
    reason = f"none of {len(rungs)} recipes passed (record {record}); {_served(serve, kept)}"
    return report | {"reason": reason, "serve": serve, "evidence": content["evidence"]}


def _way_on(ending: Ending, name: str, changes: Mapping[str, Any]) -> str:
    if ending is Ending.INCONCLUSIVE:
        return f"'{name}' is open; `verdict.json` says what would settle it"
    if not changes:
        return f"'{name}' passed; `kedro ptq promote` releases it"
    return (
        f"'{name}' passed; `kedro ptq promote` releases it, and these changes in conf/base "
        f"make it the recipe from now on: {json.dumps(changes)}"
    )


def _served(serve: str | None, held: Mapping[str, Any] | None) -> str:
    if held is None:
        return "nothing serves yet"
    what = {
        "HOLDS": "still holds under today's policy",
        "FAILS": "fails under today's policy",
        "OPEN": "was not shown to hold under today's policy",
        "UNKNOWN": "was audited on other images, so it was not asked",
    }[held["result"]]
    return f"{held['champion']} {what}: the {serve} should serve until somebody has retrained"


def shared_shifts(baseline: Baseline, stress: Mapping[str, Any]) -> list[str]:
    """Return the shifts under which a champion answered what is asked today."""
    asked = {name: options for name, options in stress.items() if name in baseline.shifts}
    return [name for name in baseline.answers if asked.get(name, ...) == baseline.shifts.get(name)]


def _judge_champion(project: Project, champion: Champion) -> Reaudit | None:
    """Judge the champion's answers on the audit images against the float model's.

    That it is asked is entered in the ledger. None where it answered other images or shifts.
    """
    baseline: Baseline = project.load("champion_baseline")
    samples = project.load("samples")
    audit = samples[samples["split"] == "audit"].sort_values("sample_id", ignore_index=True)
    opener = Opener.of(project.load("audit_ledger"), samples)
    answers = project.load("float_predictions")
    shared = shared_shifts(baseline, project.group("stress"))
    if baseline.audit_hash != opener.images.hash or not shared:
        return None
    policy = project.settings("worst_case_check", Policy)
    opening = open_reaudit(opener, champion.record_hash, policy, shared)
    reference = {
        name: answers[answers["shift"] == name]
        .set_index("sample_id")["predicted"]
        .reindex(audit["sample_id"])
        .to_numpy()
        for name in shared
    }
    own = {name: baseline.answers[name] for name in shared}
    given = ChampionAnswers(champion.version, own, reference)
    scoring = project.settings("subgroup_scoring", SubgroupScoringParameters)
    definitions = project.document("group_definitions", GroupDefinitions)
    return reaudit(audit, given, definitions, opening, scoring)
