"""A Kedro project seen from outside a run: its catalog, its parameters, its mounts, its runs."""

import json
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TextIO, TypeVar

from kedro.config import AbstractConfigLoader, MissingConfigException
from kedro.framework import project as kedro_project
from kedro.framework.project import pipelines
from kedro.framework.session import KedroServiceSession, KedroSession
from kedro.framework.startup import bootstrap_project
from kedro.io import DatasetError
from kedro.utils import find_kedro_project
from kedro.validation.exceptions import ParameterValidationError
from pydantic import BaseModel
from rich.console import Console

from ptq_pipeline.configuration import checked, left_to_readers, refuse_unknown_groups
from ptq_pipeline.core.documents import Document
from ptq_pipeline.core.errors import InputError, causes_of, own_cause
from ptq_pipeline.mounting import create_pipeline
from ptq_pipeline.sealing import check_acting

Model = TypeVar("Model", bound=BaseModel)
Kind = TypeVar("Kind", bound=Document)


@dataclass(frozen=True)
class Project:
    """One mount of the pipelines in a project.

    Attributes:
        root: its folder.
        catalog: Kedro's catalog.
        configuration: Kedro's loader of what is in conf/.
        name: namespace of the mount; empty for the pipelines as they are.
        env: configuration environment.
    """

    root: Path
    catalog: Any
    configuration: AbstractConfigLoader
    name: str = ""
    env: str | None = None

    @cached_property
    def parameters(self) -> dict[str, Any]:
        """All parameters as configuration gives them, read when a command first needs one.

        Raises:
            InputError: they cannot be read, or there is a group that nothing reads.
        """
        try:
            found = dict(self.configuration["parameters"])
        except MissingConfigException:
            return {}
        except Exception as error:
            raise InputError(f"the parameters of this project cannot be read: {error}") from error
        if kedro_project.PACKAGE_NAME == __package__:
            refuse_unknown_groups(found, "in conf/")
        return found

    def document(self, dataset: str, kind: type[Kind]) -> Kind:
        """Load a document, as :meth:`load`.

        Raises:
            InputError: the catalog entry loads something else.
        """
        found = self.load(dataset)
        if not isinstance(found, kind):
            raise InputError(
                f"the catalog entry '{self._full(dataset)}' is no document: write `type: "
                "ptq_pipeline.datasets.DocumentDataset` and `document: "
                f"{kind.__module__}.{kind.__qualname__}`, as `kedro ptq init` writes it"
            )
        return found

    def load(self, dataset: str) -> Any:
        """Load a dataset of this mount.

        Raises:
            InputError: the catalog has no such entry, or its data is not there yet, was changed,
                or is of an earlier run than a later one that did not end.
        """
        full = self._entry(dataset)
        check_acting(self.catalog, full)
        try:
            return self.catalog.load(full)
        except DatasetError as error:
            # Kedro wraps what a dataset raised, ours among it, in longer texts.
            if (cause := own_cause(error)) is not None:
                raise cause from None
            causes = list(causes_of(error))
            if any(isinstance(cause, FileNotFoundError) for cause in causes):
                raise InputError(
                    f"'{full}' does not exist yet: run the pipeline that makes it"
                ) from error
            place = self.catalog.get(full)._describe().get("filepath", full)
            raise InputError(
                f"'{full}' cannot be read from '{place}': {causes[-1]}; restore the file, or run "
                "the pipeline that makes it"
            ) from error

    def has(self, dataset: str) -> bool:
        """Say whether the catalog has an entry for a dataset of this mount."""
        return self._full(dataset) in self.catalog

    def save(self, dataset: str, data: Any) -> None:
        """Save a dataset of this mount."""
        self.catalog.save(self._full(dataset), data)

    def path(self, dataset: str) -> Path:
        """Return where a dataset is, relative to the project.

        Raises:
            InputError: the catalog has no such entry, or it is no file of the project.
        """
        full = self._entry(dataset)
        try:
            described = self.catalog.get(full)._describe()
        except DatasetError as error:
            if (cause := own_cause(error)) is not None:
                raise InputError(f"catalog entry '{full}': {cause}") from None
            raise InputError(f"catalog entry '{full}' cannot be used: {error}") from error
        if described.get("protocol") not in (None, "", "file"):
            raise InputError(
                f"'{full}' is at a URL ({described['protocol']}), where this command cannot "
                "work; copy or mount it, and give that path in the catalog"
            )
        path = Path(str(described.get("filepath", "")))
        try:
            return path.relative_to(self.root) if path.is_absolute() else path
        except ValueError:
            raise InputError(f"'{full}' is at '{path}', outside the project") from None

    def group(self, name: str) -> dict[str, Any]:
        """Return one parameter group of this mount as it was written; empty where it has none."""
        holder = self.parameters.get(self.name, {}) if self.name else self.parameters
        return dict(holder.get(name, {}))

    def settings(self, name: str, model: type[Model]) -> Model:
        """Return one parameter group of this mount, checked.

        Raises:
            InputError: naming the first setting that does not hold.
        """
        return checked(self._full(name), self.group(name), model)

    def run(
        self,
        pipeline: str,
        changes: Mapping[str, Any] | None = None,
        *,
        ending: TextIO | None = None,
    ) -> None:
        """Run a pipeline of this mount, or several by comma, in a Kedro session of its own.

        ``changes`` are parameters by group. ``ending`` takes what a run says at its end, stderr
        otherwise: stdout belongs to the command's own lines.
        """
        parameters = dict(changes or {})
        if self.name:
            # The catalog names folders after the event, and knows no mount where it does so.
            event = {key: parameters[key] for key in ("reaudit",) if key in parameters}
            parameters = {self.name: parameters, **event}
        # Serving mode: all pipelines of a host are loaded first, and one may then be added.
        with KedroServiceSession.create(
            project_path=self.root, env=self.env, serving_mode=bool(self.name)
        ) as session:
            try:
                with redirect_stdout(ending or sys.stderr):
                    session.run(
                        pipeline_names=[self._registered(name) for name in pipeline.split(",")],
                        runtime_params=parameters,
                    )
            except DatasetError as error:
                raise InputError(f"{pipeline}: {error}") from error

    def report(self, name: str) -> dict[str, Any]:
        """Read a report of the last run, below ``08_reporting`` of the environment."""
        path = self.root / self.path("verdict").parent / name
        try:
            return dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise InputError(f"'{path}' is missing or damaged ({error})") from error

    def _full(self, name: str) -> str:
        return f"{self.name}.{name}" if self.name else name

    def _entry(self, dataset: str) -> str:
        full = self._full(dataset)
        if full not in self.catalog:
            raise InputError(
                f"the catalog has no entry '{full}'; name the mount with --mount, or add the entry"
            )
        return full

    def _registered(self, pipeline: str) -> str:
        """Return the name under which a session finds a pipeline."""
        if not self.name:
            return pipeline
        if pipeline == "__default__":
            return self.name
        name = self._full(pipeline)
        # A host registers the audit of a mount; what watches it is no part of its `__default__`.
        pipelines[name] = create_pipeline(self.name, stages=[pipeline])
        return name


def project_path() -> Path:
    """Return the root of the Kedro project around the current directory.

    Raises:
        InputError: there is none.
    """
    found = find_kedro_project(Path.cwd())
    if found is None:
        raise InputError(
            f"'{Path.cwd()}' is not inside a Kedro project; call this where pyproject.toml is"
        )
    return found


def bootstrapped() -> tuple[Path, Any]:
    """Prepare Kedro for the project around the current directory; return its root and metadata.

    Raises:
        InputError: this is no Kedro project.
    """
    root = project_path()
    # Kedro announces its logging on stdout, which belongs to a command's own lines.
    with redirect_stdout(sys.stderr):
        metadata = bootstrap_project(root)
    _log_to_stderr()
    return root, metadata


@contextmanager
def opened(env: str | None = None, mount: str | None = None) -> Iterator[Project]:
    """Open the project around the current directory.

    No pipeline is imported: whoever reads a parameter group checks it, by `Project.settings`.

    Raises:
        InputError: this is no Kedro project, or its configuration cannot be read.
    """
    root, _ = bootstrapped()
    with KedroSession.create(root, env=env) as session:
        try:
            with left_to_readers():
                context = session.load_context()
            # Kedro would import every pipeline, and so torch, to check what they read.
            context._pipelines_to_validate = []
            # And make each parameter a dataset, for which it imports pandas. No command loads one.
            context._get_parameters = dict
            project = Project(root, context.catalog, context.config_loader, mount or "", env)
        except (ParameterValidationError, MissingConfigException, DatasetError) as error:
            raise InputError(f"the configuration of this project does not hold: {error}") from error
        yield project


def _log_to_stderr() -> None:
    """Keep stdout for what programs may read as JSON."""
    for logger in (logging.getLogger(), *map(logging.getLogger, ("kedro", "ptq_pipeline"))):
        for handler in logger.handlers:
            if hasattr(handler, "console"):
                handler.console = Console(stderr=True)
