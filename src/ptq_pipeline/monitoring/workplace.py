"""What the watch and the ladder need of the project that they work in."""

import logging
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel

from ptq_pipeline.core.errors import PtqPipelineError
from ptq_pipeline.core.names import DECISION_FILE, VERDICT_FILE
from ptq_pipeline.monitoring.ladder import Rung, Step
from ptq_pipeline.registry import Record

log = logging.getLogger(__name__)

Model = TypeVar("Model", bound=BaseModel)


class Workplace(Protocol):
    """A project that runs pipelines; `ptq_pipeline.project.Project` is one."""

    @property
    def root(self) -> Path:
        """Its folder."""
        ...

    def load(self, dataset: str) -> Any:
        """Load a dataset."""
        ...

    def save(self, dataset: str, data: Any) -> None:
        """Save a dataset."""
        ...

    def path(self, dataset: str) -> Path:
        """Return where a dataset stands, relative to ``root``."""
        ...

    def group(self, name: str) -> dict[str, Any]:
        """Return a parameter group as it was written."""
        ...

    def settings(self, name: str, model: type[Model]) -> Model:
        """Return a parameter group, checked."""
        ...

    def run(self, pipeline: str, changes: Mapping[str, Any] | None = None) -> None:
        """Run a pipeline, with changes of parameters by group."""
        ...

    def report(self, name: str) -> dict[str, Any]:
        """Read a report of the last run, by its path below the reports."""
        ...

    def release_requantized(self, by: str, trigger: str) -> Record:
        """Make the candidate of the last requantization the champion."""
        ...


def attempt(
    project: Workplace, pipeline: str, step: Step, changes: Mapping[str, Any], folder: str = ""
) -> Rung:
    """Run one recipe and read what was decided; a recipe that cannot be tried is a refusal.

    Args:
        project: where it runs.
        pipeline: what runs.
        step: the recipe.
        changes: parameters to change, by group.
        folder: of its reports, below those of the audit.
    """
    try:
        project.run(pipeline, changes)
    except PtqPipelineError as error:
        log.warning("recipe '%s' could not be tried: %s", step.name, error)
        return Rung(step.name, "error", str(error))
    decision, verdict = (
        project.report(PurePath(folder, name).as_posix()) for name in (DECISION_FILE, VERDICT_FILE)
    )
    return Rung(step.name, decision["decision"], verdict["headline"], decision["decision_hash"])


def add_to_dvc(project: Workplace, event: str) -> list[str]:
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
