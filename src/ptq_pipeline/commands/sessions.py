"""Pipelines run by a command in Kedro sessions of their own, and what they left on disk."""

import logging
from collections.abc import Mapping
from pathlib import Path
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
    decision = read_json(project, f"{folder}/decision.json")
    verdict = read_json(project, f"{folder}/verdict.json")
    return Rung(step.name, decision["decision"], verdict["headline"], decision["decision_hash"])


def run_pipeline(
    project: Mount, env: str | None, pipeline: str, changes: Mapping[str, Any] | None = None
) -> None:
    """Run a pipeline, or several by comma, in a Kedro session, with changed parameters."""
    from kedro.framework.session import KedroServiceSession
    from kedro.io import DatasetError

    with KedroServiceSession.create(project_path=project.root, env=env) as session:
        try:
            session.run(pipeline_names=pipeline.split(","), runtime_params=dict(changes or {}))
        except DatasetError as error:
            if isinstance(error.__cause__, PtqPipelineError):
                raise error.__cause__ from None
            raise InputError(f"{pipeline}: {error}") from error


def read_json(project: Mount, name: str) -> dict[str, Any]:
    """Read a report of the last run, below ``08_reporting`` of the environment."""
    import json

    folder = Path(project.catalog["verdict"]._describe()["filepath"]).parent
    path = project.root / folder / name
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise InputError(f"'{path}' is missing or damaged ({error})") from error
