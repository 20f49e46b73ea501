"""The ladder of a first audit: whole audits in order, and what is recorded when none passes."""

import json
import logging
from datetime import UTC, datetime
from typing import Any

from ptq_pipeline.core.exits import ExitCode
from ptq_pipeline.judgement.champion import Baseline, audit_hash
from ptq_pipeline.judgement.policy import Policy
from ptq_pipeline.monitoring.ladder import Ending, LadderParameters, Rung, Step, climb, conclude
from ptq_pipeline.monitoring.reaudit import Answers, reaudit
from ptq_pipeline.monitoring.workplace import Workplace, attempt
from ptq_pipeline.registry import Champion, note

log = logging.getLogger(__name__)

STOP_AT = ("promote", "inconclusive")
CODES = {
    Ending.PASSED: ExitCode.DONE,
    Ending.INCONCLUSIVE: ExitCode.INCONCLUSIVE,
    Ending.RETRAINING: ExitCode.NO_CANDIDATE_PASSED,
}


def audit_recipes(project: Workplace) -> dict[str, Any]:
    """Audit the recipes of the ladder until one is not refused; record it when all are.

    The champion is not moved. When every recipe was refused, its stored answers are judged by the
    policy as it is now, so that a champion that fails as well does not pass for a way out.

    Raises:
        InputError: No recipe could be tried.
    """
    ladder = project.settings("ladder", LadderParameters)
    # A champion that cannot be read is an error before anything else happens.
    champion = project.load("registry").champion()

    def audit(step: Step) -> Rung:
        log.info("audit, recipe '%s'", step.name)
        return attempt(project, "__default__", step, step.changes())

    rungs = climb(ladder, audit, stop_at=STOP_AT)
    ending = conclude(rungs)
    evidence = {"ladder": [rung.to_json() for rung in rungs]}
    report = evidence | {
        "action": str(ending),
        "champion": champion.version if champion else None,
        "exit_code": int(CODES[ending]),
    }
    if ending is not Ending.RETRAINING:
        step = next(each for each in ladder.recipes if each.name == rungs[-1].name)
        return report | {"reason": _way_on(ending, step), "changes": step.changes()}
    held = _judge_champion(project, champion) if champion else None
    serve = ladder.serve(champion is not None, failed=bool(held) and held["result"] == "FAILS")
    kept = held and {key: value for key, value in held.items() if key != "cells"}
    content = {
        "outcome": str(ending),
        "serve": serve,
        "trigger": "ladder",
        "evidence": evidence | {"champion": kept},
    }
    record = note(project.load("registry"), content, datetime.now(UTC)).sequence
    reason = f"none of {len(rungs)} recipes passed (record {record}); {_served(serve, held)}"
    return report | {"reason": reason, "serve": serve, "evidence": content["evidence"]}


def _way_on(ending: Ending, step: Step) -> str:
    if ending is Ending.INCONCLUSIVE:
        return f"'{step.name}' is open; `verdict.json` says what would settle it"
    if not step.changes():
        return f"'{step.name}' passed; `kedro ptq promote` releases it"
    return (
        f"'{step.name}' passed; `kedro ptq promote` releases it, and these changes in conf/base "
        f"make it the recipe from now on: {json.dumps(step.changes())}"
    )


def _served(serve: str | None, held: dict[str, Any] | None) -> str:
    if serve is None:
        return "nothing serves yet"
    if held is None:
        return f"the {serve} serves"
    what = {
        "HOLDS": "still holds under today's policy",
        "FAILS": "fails under today's policy",
        "OPEN": "was not shown to hold under today's policy",
        "UNKNOWN": "was audited on other images, so it was not asked",
    }[held["result"]]
    return f"{held['champion']} {what}: the {serve} should serve until somebody has retrained"


def _judge_champion(project: Workplace, champion: Champion) -> dict[str, Any]:
    """Judge the champion's answers on the audit images against the float model's.

    That it is asked is entered in the ledger.
    """
    baseline: Baseline = project.load("champion_baseline")
    samples = project.load("samples")
    audit = samples[samples["split"] == "audit"].sort_values("sample_id", ignore_index=True)
    images = audit_hash(audit["content_hash"])
    answers = project.load("float_predictions")
    stress = project.group("stress")
    shared = [name for name in baseline.answers if baseline.shifts.get(name) == stress.get(name)]
    if baseline.audit_hash != images or not shared:
        return {"champion": champion.version, "result": "UNKNOWN"}
    policy = project.settings("worst_case_check", Policy)
    question = {"champion": champion.record_hash, "policy": policy.hash, "shifts": shared}
    project.load("audit_ledger").enter(images, "reaudit", question)
    reference = {
        name: answers[answers["shift"] == name]
        .set_index("sample_id")["predicted"]
        .reindex(audit["sample_id"])
        .to_numpy()
        for name in shared
    }
    own = {name: baseline.answers[name] for name in shared}
    definitions = project.load("group_definitions")
    return reaudit(audit, Answers(own, reference), definitions, policy, champion.version)
