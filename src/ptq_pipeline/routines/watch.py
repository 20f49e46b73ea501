"""One look of the watch: monitoring, the trigger, a re-audit, and then perhaps a requantization."""

import logging
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ptq_pipeline.core.exits import ExitCode
from ptq_pipeline.core.provenance import describe_machine
from ptq_pipeline.judgement.decision import Decision
from ptq_pipeline.judgement.policy import Policy
from ptq_pipeline.monitoring.history import WindowHistory
from ptq_pipeline.monitoring.page import watch_page
from ptq_pipeline.monitoring.parameters import MonitoringParameters
from ptq_pipeline.monitoring.reaudit import EventReaudit, Holding
from ptq_pipeline.monitoring.trigger import Action, Advice, Event, TriggerState
from ptq_pipeline.monitoring.windows import Status, UnusableWindow
from ptq_pipeline.project import Project
from ptq_pipeline.registry.agreement import Registry
from ptq_pipeline.registry.evidence import Evidence, candidate_files
from ptq_pipeline.registry.records import HOLDS
from ptq_pipeline.registry.release import Circumstances, ReleaseParameters, note, release
from ptq_pipeline.reporting.card import model_card
from ptq_pipeline.routines.ladder import LadderParameters, attempt, climb, spend

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DriftCase:
    """What a re-audit is about.

    Attributes:
        event: the drift event.
        later: windows after it, for its audit.
    """

    event: Event
    later: tuple[str, ...]

    @property
    def changes(self) -> dict[str, Any]:
        """The runtime parameters that name its windows."""
        windows = {"windows": list(self.event.windows), "audit_windows": list(self.later)}
        return {"reaudit": {"event": self.event.event, **windows}}


class Watch:
    """Looks once.

    Args:
        project: where the windows arrive.
        dry_run: say what would be done, and remember nothing of it.
    """

    def __init__(self, project: Project, dry_run: bool = False) -> None:
        self.project = project
        self.dry_run = dry_run
        self.ladder = project.settings("ladder", LadderParameters)
        self.rules = project.settings("monitoring", MonitoringParameters).trigger
        self.registry: Registry = project.load("registry")
        self.state: TriggerState = project.load("watch_state") or TriggerState()
        # Windows of an event that could not be read again.
        self.unusable: dict[str, str] = {}

    def once(self) -> dict[str, Any]:
        """Look at new windows, decide, act; return the report."""
        known = self.state.reported
        # A champion that cannot be read is an error before anything else happens.
        self.registry.champion()
        self.run("monitoring")
        history = self.project.document("window_history", WindowHistory)
        state, advice = self.state.advanced(history.telling, self.rules, datetime.now(UTC))
        self._keep(state)
        new = history.windows[known:]
        listed = [each.to_json() for each in new]
        report = {"windows": listed, "reason": advice.reason, **self._act(advice)}
        # Last, so that a call that is killed or fails alarms for no window in silence.
        self._keep(self.state.model_copy(update={"reported": len(history.windows)}))
        bad = [each.window for each in new if each.status is Status.REJECTED]
        bad += self.unusable
        if bad and report["exit_code"] == ExitCode.DONE:
            report["exit_code"] = int(ExitCode.WINDOW_SET_ASIDE)
        champion = self.registry.champion()
        report |= {
            "warnings": [*advice.warnings, *self.unusable.values()],
            "set_aside": bad,
            "set_aside_in_all": len(history.set_aside),
            "champion": champion.version if champion else None,
        }
        self._show(history, report)
        return report

    def _show(self, history: WindowHistory, report: Mapping[str, Any]) -> None:
        """Write the page again; a project that was mounted before there was one goes without."""
        if self.dry_run or not self.project.has("watch_page"):
            return
        language = self.project.group("reporting").get("language", "en")
        page = watch_page(history, self.state, report, report["champion"], language)
        self.project.save("watch_page", page)

    def run(self, pipeline: str, changes: Mapping[str, Any] | None = None) -> None:
        """Run one pipeline in a session of its own."""
        self.project.run(pipeline, changes)

    def _keep(self, state: TriggerState) -> None:
        self.state = state
        if not self.dry_run:
            self.project.save("watch_state", state)

    def _act(self, advice: Advice) -> dict[str, Any]:
        event = advice.event
        if advice.action is not Action.REAUDIT or event is None:
            return {"action": str(advice.action), "exit_code": int(ExitCode.DONE)}
        if self.registry.champion() is None:
            reason = f"{advice.reason}; nothing serves yet, so there is nothing to re-audit"
            return self._end(event, "nothing", reason, ExitCode.DONE)
        if self.dry_run:
            reason = f"{advice.reason}; would re-audit the champion"
            return _answer(event, "reaudit", reason, ExitCode.REQUANTIZATION_ADVISED)
        return self._reaudit(DriftCase(event, advice.audit_windows))

    def _reaudit(self, case: DriftCase) -> dict[str, Any]:
        """Audit the champion on the event's windows, without later ones that cannot be used."""
        event = case.event
        try:
            self.run("reaudit", case.changes)
        except UnusableWindow as error:
            self.unusable[error.window] = str(error)
            if error.window not in case.later:
                reason = f"event {event.event} cannot be judged: {error}"
                outcome = {"action": "set aside", "reason": reason}
                self._keep(self.state.abandoned(event, outcome))
                return _answer(event, "set aside", reason, ExitCode.WINDOW_SET_ASIDE)
            others = tuple(name for name in case.later if name != error.window)
            if not others and self.rules.later_window:
                return self._wait(case, str(error), ExitCode.WINDOW_SET_ASIDE)
            return self._reaudit(DriftCase(event, others))
        found = self.project.report(f"monitoring/reaudit_{event.event}.json")
        return self._follow(case, EventReaudit.read(found))

    def _follow(self, case: DriftCase, found: EventReaudit) -> dict[str, Any]:
        event, text, evidence = case.event, found.describe(), found.without_cells()
        if found.result is Holding.HOLDS:
            self._note(event, HOLDS, evidence)
            return self._end(event, "recorded", text, ExitCode.DONE)
        if found.result is Holding.OPEN and found.too_small:
            return self._wait(case, text, ExitCode.DONE)
        if not found.labelled:
            self._note(event, "requantization advised", evidence)
            reason = f"{text}; without labels no candidate can be promoted: label the window"
            return self._end(event, "advised", reason, ExitCode.REQUANTIZATION_ADVISED)
        return self._requantize(case, found)

    def _requantize(self, case: DriftCase, found: EventReaudit) -> dict[str, Any]:
        """Climb the ladder on old and new images, and release what passes."""
        event, text = case.event, found.describe()
        policy = self.project.settings("worst_case_check", Policy)
        changes = {**case.changes, **spend(self.ladder, policy)}
        rungs = climb(
            self.ladder,
            lambda step: attempt(self.project, "requantization", step, changes, "requantization."),
            stop_at=("promote",),
        )
        tried = {"ladder": [rung.to_json() for rung in rungs]}
        evidence = found.without_cells() | tried
        tried |= {"dvc_files": add_to_dvc(self.project, event.event)}
        if rungs[-1].decision == "promote":
            version = self._release(event)
            reason = f"{text}; '{rungs[-1].name}' passed on old and new images: {version}"
            return tried | self._end(event, "promoted", reason, ExitCode.DONE)
        serve = self.ladder.serve(True, found.result is Holding.FAILS)
        if any(rung.decision == "inconclusive" for rung in rungs):
            self._note(event, "no candidate was shown to hold", evidence, serve=serve)
            reason = f"{text}; no recipe was shown to hold yet, the {serve} serves"
            return tried | self._wait(case, reason, ExitCode.INCONCLUSIVE)
        self._note(event, "retraining needed", evidence, serve=serve)
        reason = f"{text}; no recipe passed: retraining needed, the {serve} serves"
        return tried | self._end(event, "retraining needed", reason, ExitCode.NO_CANDIDATE_PASSED)

    def _release(self, event: Event) -> str:
        """Make the candidate of the last requantization the champion; return its version."""
        parameters = self.project.settings("release", ReleaseParameters).model_copy(
            update={"by": self.ladder.by, "trigger": _cause(event)}
        )
        files = candidate_files(self.project.load("requantization.candidate_model"))
        decision = self.project.document("requantization.decision", Decision)
        evidence = Evidence.of_files(files)
        # The project's revision, wherever the watch was called.
        there = Circumstances(machine=describe_machine(self.project.root), card=model_card)
        record = release(self.registry, evidence, decision, parameters, there).to_json()
        return str(record["content"]["version"])

    def _wait(self, case: DriftCase, reason: str, code: ExitCode) -> dict[str, Any]:
        """Leave the event open; when another window has come, it is judged again."""
        event = case.event
        self._keep(self.state.postponed([*event.windows, *case.later][-1], reason))
        return _answer(event, "wait", f"{reason}; event {event.event} waits for more windows", code)

    def _end(self, event: Event, action: str, reason: str, code: ExitCode) -> dict[str, Any]:
        self._keep(self.state.concluded(event, {"action": action, "reason": reason}))
        return _answer(event, action, reason, code)

    def _note(self, event: Event, outcome: str, evidence: Mapping[str, Any], **more: Any) -> None:
        content = {"outcome": outcome, **more, "trigger": _cause(event), "evidence": evidence}
        note(self.registry, content, datetime.now(UTC))


def _cause(event: Event) -> str:
    return f"drift:{event.event}"


def _answer(event: Event, action: str, reason: str, code: ExitCode) -> dict[str, Any]:
    return {"action": action, "reason": reason, "event": event.event, "exit_code": int(code)}


def add_to_dvc(project: Project, event: str) -> list[str]:
    """Put an event's calibration sets under DVC; committing what DVC writes is for people.

    Returns:
        The ``.dvc`` file and the ``.gitignore`` beside it where there is one, relative to the
        project; none without DVC.
    """
    sets = project.path("calibration_sets").parent
    folder = sets / "requantization" / event / "calibration_sets"
    if not (project.root / folder).is_dir():
        return []
    if not any((parent / ".dvc").is_dir() for parent in (project.root, *project.root.parents)):
        log.warning("no DVC here (`dvc init`): '%s' is kept as it is", folder)
        return []
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "add", "--quiet", str(folder)],
        cwd=project.root,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["no reason"])[-1]
        log.warning(
            "'%s' is kept, but not under DVC; `dvc add %s` failed: %s", folder, folder, said
        )
        return []
    written = [folder.with_name(f"{folder.name}.dvc"), folder.with_name(".gitignore")]
    return [path.as_posix() for path in written if (project.root / path).is_file()]
