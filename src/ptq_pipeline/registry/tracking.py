"""Audits as runs of an MLflow server, and promoted versions in its model registry.

The files of a project stay the truth: a run is made of what an audit has written, the server's
registry follows the one on disk. So everything can be sent again, and what was sent stays once.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.names import DECISION_FILE, VERDICT_FILE
from ptq_pipeline.registry.agreement import Registry
from ptq_pipeline.registry.tracking_parameters import TrackingParameters

if TYPE_CHECKING:
    from ptq_pipeline.judgement.decision import Decision
    from ptq_pipeline.judgement.verdict import Verdict

log = logging.getLogger(__name__)

# What of the reports' folder goes along, beside the figures.
FILES = (VERDICT_FILE, DECISION_FILE, "report.html", "metrics.json", "pull_request.md")
FIGURES = "figures"
CHAMPION = "champion"
DECISION_TAG, VERSION_TAG = "ptq.decision_hash", "ptq.version"
# Parameters that decide an audit.
GROUPS = (
    *("data_loading", "calibration", "quantization", "stress", "subgroup_scoring"),
    *("worst_case_check", "business", "promotion"),
)
# MLflow's own limits: of a value, and of one request.
LONGEST_VALUE, MOST_AT_ONCE = 6_000, 100
MOST_CHARACTERS = 200
AGAIN = "nothing is lost, and `kedro ptq mlflow` sends it again"


@dataclass(frozen=True)
class TrackedAudit:
    """What a run shows of an audit.

    Attributes:
        decision: Its decision, whose hash is the audit's name.
        verdict: Its verdict.
        metrics: Its ten numbers, in points.
        parameters: By their keys, with points between.
        files: What is kept of it, by folder in the run.
    """

    decision: Decision
    verdict: Verdict
    metrics: Mapping[str, float]
    parameters: Mapping[str, str]
    files: tuple[tuple[str, Path], ...]

    @classmethod
    def of(cls, reports: Path, parameters: Mapping[str, Any]) -> TrackedAudit:
        """Read the reports of an audit.

        Raises:
            InputError: There is none, or one of them is damaged.
        """
        # Every command loads this module with Kedro's hooks; only a finished audit needs pandas.
        from ptq_pipeline.judgement.decision import Decision
        from ptq_pipeline.judgement.verdict import Verdict

        try:
            found = {name: json.loads((reports / name).read_bytes()) for name in FILES[:2]}
            metrics = json.loads((reports / "metrics.json").read_bytes())
        except (OSError, ValueError) as error:
            raise InputError(
                f"'{reports}' holds no finished audit ({error}); run the audit first"
            ) from None
        decided = {name: parameters[name] for name in GROUPS if name in parameters}
        figures = sorted((reports / FIGURES).glob("*.*")) if (reports / FIGURES).is_dir() else []
        files = [("", reports / name) for name in FILES if (reports / name).is_file()]
        return cls(
            Decision.read(found[DECISION_FILE]),
            Verdict.read(found[VERDICT_FILE]),
            {key: float(value) for key, value in metrics.items() if value is not None},
            dict(_flat(decided)),
            (*files, *((FIGURES, each) for each in figures if each.is_file())),
        )


@contextmanager
def connected(settings: TrackingParameters) -> Iterator[Tracker]:
    """Connect to the server.

    MLflow reads from the environment how long it waits and whether it reports its use; what
    somebody has set there holds.

    Raises:
        InputError: The package is not installed, or no server is configured.
    """
    if settings.tracking_uri is None:
        raise InputError(
            "no MLflow server is configured; set mlflow.tracking_uri in "
            "conf/base/parameters_mlflow.yml"
        )
    if settings.is_missing:
        raise InputError("package 'mlflow' is not installed; pip install 'ptq-pipeline[mlflow]'")
    wanted = {
        "MLFLOW_HTTP_REQUEST_TIMEOUT": str(settings.timeout_seconds),
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    }
    ours = {name: value for name, value in wanted.items() if name not in os.environ}
    os.environ.update(ours)
    try:
        from mlflow import MlflowClient

        yield Tracker(MlflowClient(settings.tracking_uri, settings.tracking_uri), settings)
    finally:
        for name in ours:
            os.environ.pop(name, None)


class Tracker:
    """A server, through MLflow's client; see `connected`."""

    def __init__(self, client: Any, settings: TrackingParameters) -> None:
        self._client = client
        self._settings = settings

    def log_audit(self, audit: TrackedAudit) -> str:
        """Make a run of an audit, unless there is one.

        Returns:
            The run's id.
        """
        known = self._run_of(audit.decision.hash)
        if known is not None:
            return known
        name = f"{audit.verdict.result} {audit.decision.hash[:8]}"
        with self._new_run(name) as run:
            values = list(audit.parameters.items())
            for start in range(0, len(values), MOST_AT_ONCE):
                self._log_parameters(run, values[start : start + MOST_AT_ONCE])
            for key, value in audit.metrics.items():
                self._client.log_metric(run, key, value)
            for folder, path in audit.files:
                self._client.log_artifact(run, str(path), folder or None)
            said = {
                "ptq.verdict": audit.verdict.result,
                "ptq.decision": str(audit.decision.outcome),
                "ptq.headline": audit.verdict.headline,
            }
            for key, text in said.items():
                self._client.set_tag(run, key, text)
            # Last: a run without it was interrupted, and is made once more.
            self._client.set_tag(run, DECISION_TAG, audit.decision.hash)
        return run

    def follow(self, registry: Registry) -> list[str]:
        """Register versions that were promoted, and let the alias name the champion.

        Returns:
            What was done, a sentence each.
        """
        name = self._settings.registered_model
        done: list[str] = []
        promotions = registry.records(needed=False).promotions
        if not promotions:
            return done
        known = self._versions(name)
        for version, record in promotions.items():
            if version not in known:
                digest = str(record.content["decision_hash"])
                known[version] = self._register(registry.folder(version), version, digest)
                done.append(f"version {version} is version {known[version]} of '{name}' in MLflow")
        champion = registry.champion()
        if champion is not None and self._alias(name) != known[champion.version]:
            self._client.set_registered_model_alias(name, CHAMPION, known[champion.version])
            done.append(f"alias '{CHAMPION}' of '{name}' in MLflow: {champion.version}")
        return done

    def _register(self, folder: Path, version: str, digest: str) -> str:
        run = self._run_of(digest)
        if run is None:
            # It was promoted before audits were sent.
            with self._new_run(f"promotion of {version}") as run:
                self._client.set_tag(run, DECISION_TAG, digest)
        place = f"versions/{version}"
        self._client.log_artifacts(run, str(folder), place)
        source = f"{self._client.get_run(run).info.artifact_uri}/{place}"
        tags = {VERSION_TAG: version, DECISION_TAG: digest}
        made = self._client.create_model_version(self._settings.registered_model, source, run, tags)
        return str(made.version)

    def _versions(self, name: str) -> dict[str, str]:
        """MLflow's number of each version of ours; the model is registered where it is not yet."""
        if not self._client.search_registered_models(f"name = '{_quoted(name)}'"):
            self._client.create_registered_model(name)
        found = self._client.search_model_versions(f"name = '{_quoted(name)}'")
        return {
            each.tags[VERSION_TAG]: str(each.version) for each in found if VERSION_TAG in each.tags
        }

    def _alias(self, name: str) -> str | None:
        aliases = self._client.get_registered_model(name).aliases
        return str(aliases[CHAMPION]) if CHAMPION in aliases else None

    def _experiment(self) -> str:
        found = self._client.get_experiment_by_name(self._settings.experiment)
        if found is not None:
            return str(found.experiment_id)
        return str(self._client.create_experiment(self._settings.experiment))

    def _run_of(self, digest: str) -> str | None:
        wanted = f"tags.`{DECISION_TAG}` = '{digest}'"
        found = self._client.search_runs([self._experiment()], wanted, max_results=1)
        return str(found[0].info.run_id) if found else None

    def _log_parameters(self, run: str, values: list[tuple[str, str]]) -> None:
        from mlflow.entities import Param

        self._client.log_batch(run, params=[Param(key, value) for key, value in values])

    def _new_run(self, name: str) -> _NewRun:
        return _NewRun(self._client, self._experiment(), name)


class _NewRun:
    """A run that is finished when all went well, and failed otherwise."""

    def __init__(self, client: Any, experiment: str, name: str) -> None:
        self._client = client
        self._run = str(client.create_run(experiment, run_name=name).info.run_id)

    def __enter__(self) -> str:
        return self._run

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self._client.set_terminated(self._run, "FINISHED" if kind is None else "FAILED")


def send(settings: TrackingParameters, what: str, sending: Callable[[Tracker], Any]) -> None:
    """Send something where a server is configured; an audit never ends by what MLflow does.

    What cannot be sent is a warning in one sentence: the files on disk have it all.
    """
    if settings.tracking_uri is None:
        return
    try:
        with connected(settings) as tracker:
            sending(tracker)
    except InputError as error:
        log.warning("MLflow: %s was not sent: %s; %s", what, error, AGAIN)
    except Exception as error:  # noqa: BLE001 - a client may raise anything
        log.warning("MLflow: %s was not sent (%s); %s", what, said_of(error, settings), AGAIN)
    else:
        log.info("MLflow has %s", what)


def said_of(error: Exception, settings: TrackingParameters) -> str:
    """Say in one line what a client raised."""
    reason = settings.without_password(" ".join(str(error).split()))
    return f"{type(error).__name__}: {reason[:MOST_CHARACTERS]}"


def _flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """Parameters by their keys, with points between, in MLflow's letters and lengths."""
    for key, value in values.items():
        place = f"{before}{key}"
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{place}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            yield re.sub(r"[^\w\-. /:]", "_", place)[:250], text[:LONGEST_VALUE]


def _quoted(name: str) -> str:
    return name.replace("'", "\\'")
