"""Pipelines run by a command in Kedro sessions of their own, and what they left on disk."""

import logging
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import PurePath
from typing import Any

from ptq_pipeline.commands.project import Mount
from ptq_pipeline.errors import InputError, PtqPipelineError
from ptq_pipeline.monitoring.ladder import Rung, Step

log = logging.getLogger(__name__)


def attempt(
    project: Mount,
    env: str | None,
    pipeline: str,
    step: Step,
    changes: Mapping[str, Any],
    folder: str,
) -> Rung:
    """Run one recipe and read what was decided; a recipe that cannot be tried is a refusal."""
    try:
        run_pipeline(project, env, pipeline, changes)
    except PtqPipelineError as error:
        log.warning("recipe '%s' could not be tried: %s", step.name, error)
        return Rung(step.name, "error", str(error))
    # An audit of its own has no folder below the reports.
    decision, verdict = (
        read_json(project, PurePath(folder, name).as_posix())
        for name in ("decision.json", "verdict.json")
    )
    return Rung(step.name, decision["decision"], verdict["headline"], decision["decision_hash"])


def run_pipeline(
    project: Mount, env: str | None, pipeline: str, changes: Mapping[str, Any] | None = None
) -> None:
    """Run a pipeline of a mount, or several by comma, in a Kedro session of its own."""
    from kedro.framework.session import KedroServiceSession
    from kedro.io import DatasetError

    parameters = dict(changes or {})
    if project.name:
        # The catalog names folders after the event, and knows no mount where it does so.
        event = {key: parameters[key] for key in ("reaudit",) if key in parameters}
        parameters = {project.name: parameters, **event}
    # Serving mode: all pipelines of a host are loaded first, and one may then be added.
    with KedroServiceSession.create(
        project_path=project.root, env=env, serving_mode=bool(project.name)
    ) as session:
        try:
            # A run ends with three lines for people; stdout belongs to the command's own.
            with redirect_stdout(sys.stderr):
                session.run(
                    pipeline_names=[_registered(project, name) for name in pipeline.split(",")],
                    runtime_params=parameters,
                )
        except DatasetError as error:
            raise InputError(f"{pipeline}: {error}") from error


def _registered(project: Mount, pipeline: str) -> str:
    """Return the name under which the session finds a pipeline.

    A host registers the audit of a mount; what watches it is added here, so that it is no part of
    the host's ``__default__``.
    """
    if not project.name:
        return pipeline
    if pipeline == "__default__":
        return project.name
    from kedro.framework.project import pipelines

    from ptq_pipeline.mounting import create_pipeline

    name = f"{project.name}.{pipeline}"
    pipelines[name] = create_pipeline(project.name, stages=[pipeline])
    return name


def read_json(project: Mount, name: str) -> dict[str, Any]:
    """Read a report of the last run, below ``08_reporting`` of the environment."""
    import json

    path = project.root / project.path("verdict").parent / name
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise InputError(f"'{path}' is missing or damaged ({error})") from error
