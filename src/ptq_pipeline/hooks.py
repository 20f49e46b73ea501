"""Hooks: refuse unknown parameter groups, stop cleanly, write provenance, end with the outcome."""

import logging
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import click
from kedro.framework import project as kedro_project
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol, DatasetError
from kedro.pipeline import Node, Pipeline

from ptq_pipeline.configuration import (
    check_parameters,
    checked,
    is_left_to_readers,
    refuse_unknown_groups,
)
from ptq_pipeline.core.errors import InputError, own_cause
from ptq_pipeline.core.exits import ExitCode, end_at_once, may_be_taken_over
from ptq_pipeline.core.provenance import describe_machine
from ptq_pipeline.mounting import GATHERED, mounts, stage_of
from ptq_pipeline.registry.tracking import TrackedAudit, Tracker, send
from ptq_pipeline.registry.tracking_parameters import TrackingParameters

log = logging.getLogger(__name__)
# What Ctrl-C sends, and what ends a container or a job.
SIGNALS = (signal.SIGINT, signal.SIGTERM)
# What nodes take and return as documents, by name in the catalog.
DOCUMENTS = frozenset(
    "calibration_thresholds candidate_baseline candidate_execution candidate_speed "
    "champion_comparison decision group_definitions lost_images reaudit_result release_record "
    "settled_verdict verdict watch_state window_decisions window_history".split()
)
# What such an entry was in catalogs of earlier releases.
PLAIN = ("JSONDataset", "OptionalJSONDataset", "HistoryDataset")


class ParameterGroupHooks:
    """An unknown parameter group or a setting that does not hold: an error before any node."""

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Check the parameters of the configuration and of ``--params``."""
        if is_left_to_readers():
            return
        parameters = context.config_loader["parameters"]
        refuse_unknown_groups(parameters, "in conf/ or --params")
        check_parameters(parameters)
        _tracking(parameters)


class ProvenanceHooks:
    """What must not be in reproducible outputs: versions, CPU, git revision and run times.

    It is saved to the catalog entry ``provenance`` after every successful run, where there is one.
    A run that wrote the report ends with its outcome, and what is not judged.
    """

    def __init__(self) -> None:
        self._run_started = self._node_started = time.monotonic()
        self._node_seconds: dict[str, float] = {}
        self._left: dict[str, set[str]] = {}
        self._stages = 0

    @hook_impl
    def before_pipeline_run(self, pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        """Start the clock of the run, and note which nodes each stage has."""
        _require_documents(pipeline, catalog)
        self._run_started = time.monotonic()
        self._node_seconds = {}
        self._left = {}
        for node in pipeline.nodes:
            if stage := _stage(node):
                self._left.setdefault(stage, set()).add(node.name)
        self._stages = len(self._left)

    @hook_impl
    def before_node_run(self) -> None:
        """Start the clock of the node."""
        self._node_started = time.monotonic()

    @hook_impl
    def after_node_run(self, node: Node) -> None:
        """Stop the clock of the node; loading and saving its datasets is not counted."""
        self._node_seconds[node.name] = round(time.monotonic() - self._node_started, 2)
        self._say_when_done(node)

    def _say_when_done(self, node: Node) -> None:
        """Log one line when the last node of a stage is done."""
        stage = _stage(node)
        left = self._left.get(stage, set())
        left.discard(node.name)
        if stage in self._left and not left:
            del self._left[stage]
            seconds = time.monotonic() - self._run_started
            done = self._stages - len(self._left)
            log.info("%s done (%d of %d stages, %.0f s)", stage, done, self._stages, seconds)

    @hook_impl
    def after_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol
    ) -> None:
        """Save the provenance of this run, and end one that wrote the report with its outcome."""
        self._end("", run_params, pipeline, catalog)

    def _end(
        self,
        prefix: str,
        run_params: dict[str, Any],
        pipeline: Pipeline,
        catalog: CatalogProtocol,
    ) -> None:
        if f"{prefix}provenance" in catalog:
            found = {
                **describe_machine(Path(run_params["project_path"])),
                "environment": run_params.get("env") or "base",
                "pipelines": run_params.get("pipeline_names") or ["__default__"],
                "seconds": round(time.monotonic() - self._run_started, 1),
                "node_seconds": self._node_seconds,
            }
            catalog.save(f"{prefix}provenance", found)
        if f"{prefix}summary" in pipeline.all_outputs():
            lines = catalog.load(f"{prefix}summary")["lines"]
            sys.stdout.write("\n".join(["", *lines, ""]))
            sys.stdout.flush()
        self._track(prefix, pipeline, catalog)

    @staticmethod
    def _track(prefix: str, pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        """Send to MLflow what the run has brought, where a server is configured."""
        audited, released = (
            f"{prefix}{name}" in pipeline.all_outputs() for name in ("summary", "release")
        )
        if not (audited or released):
            return
        parameters = catalog.load("parameters") if "parameters" in catalog else {}
        group = parameters.get(prefix.rstrip("."), {}) if prefix else parameters
        settings = _tracking(group)
        if settings.tracking_uri is None:
            return

        def send_audit(tracker: Tracker) -> None:
            verdict = Path(catalog.get(f"{prefix}verdict")._describe()["filepath"])
            tracker.log_audit(TrackedAudit.of(verdict.parent, group))

        if audited:
            send(settings, "this audit", send_audit)
        if released:
            send(settings, "the registry", lambda to: to.follow(catalog.load(f"{prefix}registry")))


class InterruptHooks:
    """Ctrl-C during ``kedro run`` ends it with one sentence and exit code 130, SIGTERM with 143.

    Kedro's command would say "Aborted!" and exit with 1, like any failure. Nothing changes for a
    host that runs a session itself: there Ctrl-C stays a ``KeyboardInterrupt``. Where the signal is
    ignored, as under ``nohup ... &``, it stays ignored.
    """

    def __init__(self) -> None:
        self._before: Any = None
        self._interrupted = False
        self._code = ExitCode.INTERRUPTED

    @hook_impl(tryfirst=True)
    def after_context_created(self) -> None:
        """Let Ctrl-C end ``kedro run`` at once while it imports its pipelines."""
        context = click.get_current_context(silent=True)
        if context is not None and context.command.name == "run":
            self._take_over(end_at_once)

    @hook_impl
    def before_pipeline_run(self) -> None:
        """Take Ctrl-C over when a command runs in the main thread."""
        self._interrupted = False
        self._take_over(self._stop)

    @hook_impl
    def after_pipeline_run(self) -> None:
        """Give Ctrl-C back."""
        self._give_back()

    @hook_impl(trylast=True)
    def on_pipeline_error(self) -> None:
        """Give Ctrl-C back; modules written in C make errors of one during their import."""
        self._give_back()
        if self._interrupted:
            sys.exit(self._code)

    def _take_over(self, handler: Callable[[int, Any], NoReturn]) -> None:
        context = click.get_current_context(silent=True)
        if context is None or not may_be_taken_over():
            return
        before = [(each, signal.signal(each, handler)) for each in SIGNALS]
        if self._before is None:
            self._before = before
            context.call_on_close(self._give_back)

    def _give_back(self) -> None:
        if self._before is not None:
            for each, handler in self._before:
                signal.signal(each, handler)
            self._before = None

    def _stop(self, number: int, frame: Any) -> NoReturn:
        self._interrupted = True
        self._code = ExitCode.TERMINATED if number == signal.SIGTERM else ExitCode.INTERRUPTED
        sys.stderr.write(
            f"{'ended' if number == signal.SIGTERM else 'interrupted'}; finished trials are kept, "
            "the same command goes on from there\n"
        )
        sys.exit(self._code)


class MountHooks(ProvenanceHooks):
    """The same for mounts in other projects, which know nothing of this project's settings.

    Kedro finds it by the entry point ``kedro.hooks``; runs without a mount are left alone.
    """

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Say in one sentence which setting of a mount does not hold."""
        if kedro_project.PACKAGE_NAME != __package__ and not is_left_to_readers():
            check_parameters(context.config_loader["parameters"])

    @hook_impl
    def before_pipeline_run(self, pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        """Refuse unknown parameter groups below the name of a mount, and start the clock."""
        super().before_pipeline_run(pipeline, catalog)
        if kedro_project.PACKAGE_NAME == __package__:
            # The hooks of this project's own settings say it.
            self._left = {}
        found = mounts(pipeline)
        parameters = catalog.load("parameters") if found else {}
        for mount in found:
            refuse_unknown_groups(parameters.get(mount) or {}, f"of the mount '{mount}'")
            _tracking(parameters.get(mount) or {})

    @hook_impl
    def after_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol
    ) -> None:
        """Save the provenance of every mount, and print the lines of those that wrote a report."""
        for mount in mounts(pipeline):
            self._end(f"{mount}.", run_params, pipeline, catalog)

    @hook_impl(trylast=True)
    def on_pipeline_error(self, error: Exception) -> None:
        """Say what a dataset of this package said, without what Kedro wraps around it.

        It comes last, as an error ends the round of hooks.
        """
        if isinstance(error, DatasetError) and (cause := own_cause(error)) is not None:
            raise cause from None


mount_hooks = MountHooks()


def _tracking(groups: Mapping[str, Any]) -> TrackingParameters:
    """Read where audits are sent; a package that is missing for it is no error."""
    found = checked("mlflow", groups.get("mlflow") or {}, TrackingParameters)
    if found.is_missing:
        log.warning(
            "mlflow.tracking_uri is set and package 'mlflow' is not installed: audits are not "
            "sent (pip install 'ptq-pipeline[mlflow]', then `kedro ptq mlflow`)"
        )
    return found


def _stage(node: Node) -> str:
    """The stage that a node is work of, behind its namespace; empty for one that only gathers."""
    stage = stage_of(node)
    named = f"{node.namespace}.{stage}" if node.namespace else stage
    return "" if stage in ("", GATHERED) else named


def _require_documents(pipeline: Pipeline, catalog: CatalogProtocol) -> None:
    """Refuse a catalog that loads plain JSON where nodes take documents."""
    for name in sorted(pipeline.datasets()):
        if name.rpartition(".")[2] not in DOCUMENTS or name not in catalog:
            continue
        if type(catalog.get(name)).__name__ in PLAIN:
            raise InputError(
                f"the catalog entry '{name}' loads plain JSON, which nodes no longer take: copy "
                "the entry from what `kedro ptq init` writes today (`type: "
                "ptq_pipeline.datasets.DocumentDataset` and its `document`)"
            )
