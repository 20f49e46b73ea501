"""The Kedro project that a command works on: its catalog, its parameters, its mounts."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptq_pipeline.commands.running import project_path
from ptq_pipeline.errors import InputError


@dataclass(frozen=True)
class Mount:
    """One mount of the pipelines in a project.

    Attributes:
        root: the project.
        catalog: Kedro's catalog.
        parameters: all parameters.
        name: namespace of the mount; empty for the pipelines as they are.
    """

    root: Path
    catalog: Any
    parameters: dict[str, Any]
    name: str = ""

    def load(self, dataset: str) -> Any:
        """Load a dataset of this mount.

        Raises:
            InputError: the catalog has no such entry, or its data is not there yet.
        """
        from kedro.io import DatasetError

        from ptq_pipeline.errors import PtqPipelineError

        full = f"{self.name}.{dataset}" if self.name else dataset
        if full not in self.catalog:
            raise InputError(
                f"the catalog has no entry '{full}'; name the mount with --mount, or add the entry"
            )
        if not self.catalog.exists(full):
            raise InputError(f"'{full}' does not exist yet: run the pipeline that makes it")
        try:
            return self.catalog.load(full)
        except DatasetError as error:
            # Kedro wraps what a dataset raised, ours among it, in a longer text.
            if isinstance(error.__cause__, PtqPipelineError):
                raise error.__cause__ from None
            raise InputError(f"'{full}' cannot be read: {error.__cause__ or error}") from error

    def path(self, dataset: str) -> Path:
        """Return where a dataset stands, relative to the project.

        Raises:
            InputError: the catalog has no such entry, or it is no file of the project.
        """
        full = f"{self.name}.{dataset}" if self.name else dataset
        if full not in self.catalog:
            raise InputError(
                f"the catalog has no entry '{full}'; name the mount with --mount, or add the entry"
            )
        described = self.catalog.get(full)._describe()
        path = Path(str(described.get("filepath", "")))
        try:
            return path.relative_to(self.root) if path.is_absolute() else path
        except ValueError:
            raise InputError(f"'{full}' stands at '{path}', outside the project") from None

    def group(self, name: str) -> dict[str, Any]:
        """Return one parameter group of this mount; empty where it has none."""
        holder = self.parameters.get(self.name, {}) if self.name else self.parameters
        return dict(holder.get(name, {}))


@contextmanager
def opened(env: str | None = None, mount: str | None = None) -> Iterator[Mount]:
    """Open the project around the current directory.

    Args:
        env: configuration environment.
        mount: namespace under which the pipelines are mounted.

    Raises:
        InputError: this is no Kedro project, or its configuration cannot be read.
    """
    from kedro.framework.session import KedroSession
    from kedro.framework.startup import bootstrap_project

    root = project_path()
    bootstrap_project(root)
    _log_to_stderr()
    with KedroSession.create(root, env=env) as session:
        context = session.load_context()
        yield Mount(root, context.catalog, dict(context.params), mount or "")


def _log_to_stderr() -> None:
    """Keep stdout for a command's own lines, which programs may read as JSON."""
    import logging

    from rich.console import Console

    for logger in (logging.getLogger(), *map(logging.getLogger, ("kedro", "ptq_pipeline"))):
        for handler in logger.handlers:
            if hasattr(handler, "console"):
                handler.console = Console(stderr=True)


def mount_option(function: Any) -> Any:
    """Add ``--mount``, the namespace of the pipelines in this project."""
    import click

    return click.option("--mount", default=None, help="Namespace that the pipelines stand in.")(
        function
    )
