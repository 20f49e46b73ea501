"""One look of the watch: monitoring, the trigger, a re-audit, and then perhaps a requantization."""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ptq_pipeline.core.exits import ExitCode
from ptq_pipeline.monitoring.history import WindowHistory
from ptq_pipeline.monitoring.ladder import LadderParameters, Rung, Step, climb
from ptq_pipeline.monitoring.parameters import MonitoringParameters
from ptq_pipeline.monitoring.reaudit import worst_cell
from ptq_pipeline.monitoring.trigger import (
    Action,
    Advice,
    Event,
    TriggerState,
    abandon,
    advance,
    conclude,
    postpone,
)
from ptq_pipeline.monitoring.windows import Status, UnusableWindow
from ptq_pipeline.monitoring.workplace import Workplace, add_to_dvc, attempt
from ptq_pipeline.registry import Registry, note

log = logging.getLogger(__name__)


class Watch:
    """Looks once.

    Args:
        project: where the windows arrive.
        dry_run: say what would be done, and remember nothing of it.
    """

    def __init__(self, project: Workplace, dry_run: bool = False) -> None:
        self.project = project
        self.dry_run = dry_run
        self.ladder = project.settings("ladder", LadderParameters)
        self.rules = project.settings("monitoring", MonitoringParameters).trigger
        self.registry: Registry = project.load("registry")
        # Windows of an event that could not be read again.
        self.unusable: dict[str, str] = {}

    def once(self) -> dict[str, Any]:
        """Look at new windows, decide, act; return the report."""
        known = self._state().reported
        # A champion that cannot be read is an error before anything else happens.
        self.registry.champion()
        self.run("monitoring")
        history = self._history()
        state, advice = advance(
            self._state(), history.observations(), self.rules, datetime.now(UTC)
        )
        if not self.dry_run:
            self._keep(state)
        new = history.windows[known:]
        listed = history.to_json()["windows"][known:]
        report = {"windows": listed, "reason": advice.reason, **self._act(state, advice)}
        if not self.dry_run:
            # Last, so that a call that is killed or fails alarms for no window in silence.
            self._keep(self._state().model_copy(update={"reported": len(history.windows)}))
        bad = [each.window for each in new if each.status is Status.REJECTED]
        bad += self.unusable
        if bad and report["exit_code"] == ExitCode.DONE:
            report["exit_code"] = int(ExitCode.WINDOW_SET_ASIDE)
        champion = self.registry.champion()
        return report | {
            "warnings": [*advice.warnings, *self.unusable.values()],
            "set_aside": bad,
            "set_aside_in_all": len(history.set_aside),
            "champion": champion.version if champion else None,
        }

    def run(self, pipeline: str, changes: Mapping[str, Any] | None = None) -> None:
        """Run one pipeline in a session of its own."""
        self.project.run(pipeline, changes)

    def _history(self) -> WindowHistory:
        return WindowHistory.read(self.project.load("window_history"))

    def _state(self) -> TriggerState:
        content = self.project.load("watch_state")
        return TriggerState.from_json(content) if content else TriggerState()

    def _keep(self, state: TriggerState) -> None:
        self.project.save("watch_state", state.to_json())

    def _act(self, state: TriggerState, advice: Advice) -> dict[str, Any]:
        if advice.action is not Action.REAUDIT or advice.event is None:
            return {"action": str(advice.action), "exit_code": int(ExitCode.DONE)}
        event = advice.event
        if self.registry.champion() is None:
            reason = f"{advice.reason}; nothing serves yet, so there is nothing to re-audit"
            return self._end(state, event, "nothing", reason, ExitCode.DONE)
        if self.dry_run:
            return {
                "action": "reaudit",
                "reason": f"{advice.reason}; would re-audit the champion",
                "event": event.event,
                "exit_code": int(ExitCode.REQUANTIZATION_ADVISED),
            }
        return self._reaudit(state, event, list(advice.audit_windows))

    def _reaudit(self, state: TriggerState, event: Event, later: list[str]) -> dict[str, Any]:
        """Audit the champion on the event's windows, without later ones that cannot be used."""
        windows = list(event.windows)
        target = {"event": event.event, "windows": windows, "audit_windows": later}
        try:
            self.run("reaudit", {"reaudit": target})
        except UnusableWindow as error:
            self.unusable[error.window] = str(error)
            if error.window not in later:
                reason = f"event {event.event} cannot be judged: {error}"
                outcome = {"action": "set aside", "reason": reason}
                self._keep(abandon(state, event, outcome))
                code = int(ExitCode.WINDOW_SET_ASIDE)
                return {**outcome, "event": event.event, "exit_code": code}
            others = [name for name in later if name != error.window]
            if not others and self.rules.later_window:
                return self._wait(state, event, target, str(error), ExitCode.WINDOW_SET_ASIDE)
            return self._reaudit(state, event, others)
        result = self.project.report(f"monitoring/reaudit_{event.event}.json")
        return self._follow(state, event, result, target)

    def _follow(
        self, state: TriggerState, event: Event, result: dict[str, Any], target: dict[str, Any]
    ) -> dict[str, Any]:
        text = _describe(result)
        if result["result"] == "HOLDS":
            self._note(event, "champion holds", result)
            return self._end(state, event, "recorded", text, ExitCode.DONE)
        if result["result"] == "OPEN" and result["too_small"]:
            return self._wait(state, event, target, text, ExitCode.DONE)
        if not result["labelled"]:
            self._note(event, "requantization advised", result)
            reason = f"{text}; without labels no candidate can be promoted: label the window"
            return self._end(state, event, "advised", reason, ExitCode.REQUANTIZATION_ADVISED)
        rungs = climb(
            self.ladder, lambda step: self._requantize(step, target), stop_at=("promote",)
        )
        evidence = result | {"ladder": [rung.to_json() for rung in rungs]}
        waiting = add_to_dvc(self.project, event.event)
        found = {"ladder": evidence["ladder"], "dvc_files": waiting}
        if rungs[-1].decision == "promote":
            trigger = f"drift:{event.event}"
            record = self.project.release_requantized(self.ladder.by, trigger)
            reason = f"{text}; '{rungs[-1].name}' passed on old and new images: {record.champion}"
            return found | self._end(state, event, "promoted", reason, ExitCode.DONE)
        failed = result["result"] == "FAILS"
        serve = self.ladder.fallback if failed else "champion"
        if any(rung.decision == "inconclusive" for rung in rungs):
            self._note(event, "no candidate was shown to hold", evidence, serve=serve)
            reason = f"{text}; no recipe was shown to hold yet, the {serve} serves"
            code = ExitCode.NO_CANDIDATE_PASSED
            return found | self._wait(state, event, target, reason, code)
        self._note(event, "retraining needed", evidence, serve=serve)
        reason = f"{text}; no recipe passed: retraining needed, the {serve} serves"
        return found | self._end(
            state, event, "retraining needed", reason, ExitCode.NO_CANDIDATE_PASSED
        )

    def _wait(
        self,
        state: TriggerState,
        event: Event,
        target: Mapping[str, Any],
        reason: str,
        code: ExitCode,
    ) -> dict[str, Any]:
        """Leave the event open; when another window has come, it is judged again."""
        self._keep(postpone(state, [*target["windows"], *target["audit_windows"]][-1], reason))
        reason = f"{reason}; event {event.event} waits for more windows"
        return {"action": "wait", "reason": reason, "event": event.event, "exit_code": int(code)}

    def _requantize(self, step: Step, target: Mapping[str, Any]) -> Rung:
        log.info("requantization, recipe '%s'", step.name)
        changes = {"reaudit": dict(target), **step.changes()}
        return attempt(self.project, "requantization", step, changes, "requantization")

    def _note(self, event: Event, outcome: str, result: Mapping[str, Any], **more: Any) -> None:
        kept = {key: value for key, value in result.items() if key != "cells"}
        content = {"outcome": outcome, **more, "trigger": f"drift:{event.event}", "evidence": kept}
        note(self.registry, content, datetime.now(UTC))

    def _end(
        self, state: TriggerState, event: Event, action: str, reason: str, code: ExitCode
    ) -> dict[str, Any]:
        if not self.dry_run:
            self._keep(conclude(state, event, {"action": action, "reason": reason}))
        return {
            "action": action,
            "reason": reason,
            "event": event.event,
            "exit_code": int(code),
        }


def _describe(result: Mapping[str, Any]) -> str:
    what = {"HOLDS": "still holds", "FAILS": "fails", "OPEN": "was not shown to hold"}
    text = f"{result['champion']} {what[result['result']]} on {result['n']} production images"
    worst = worst_cell(result)
    if worst is None:
        text += ", no group of which is large enough to be judged"
    else:
        kind = "loses" if result["labelled"] else "answers differently by"
        text += f"; worst is {worst['group']}, which {kind} {100 * worst['drop']:.1f} points "
        text += f"(limit {100 * worst['limit']:.1f})"
    small = result["too_small"] if result["result"] == "OPEN" else None
    if small is None:
        return text
    return (
        f"{text}; of {small['group']} it has {small['n']} images and needs about {small['needed']}"
    )
