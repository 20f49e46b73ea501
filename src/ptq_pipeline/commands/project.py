"""The Kedro project that a command works on: its catalog, its parameters, its mounts."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptq_pipeline.commands.running import project_path
from ptq_pipeline.errors import InputError, causes_of, own_cause


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
            InputError: the catalog has no such entry, or its data is not there yet, was changed,
                or is of an earlier run than a later one that did not end.
        """
        from kedro.io import DatasetError

        from ptq_pipeline.sealing import check_acting

        full = f"{self.name}.{dataset}" if self.name else dataset
        if full not in self.catalog:
            raise InputError(
                f"the catalog has no entry '{full}'; name the mount with --mount, or add the entry"
            )
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

    def save(self, dataset: str, data: Any) -> None:
        """Save a dataset of this mount."""
        self.catalog.save(f"{self.name}.{dataset}" if self.name else dataset, data)

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
        described = self._described(full)
        if described.get("protocol") not in (None, "", "file"):
            raise InputError(
                f"'{full}' stands at a URL ({described['protocol']}), where this command cannot "
                "work; copy or mount it, and give that path in the catalog"
            )
        path = Path(str(described.get("filepath", "")))
        try:
            return path.relative_to(self.root) if path.is_absolute() else path
        except ValueError:
            raise InputError(f"'{full}' stands at '{path}', outside the project") from None

    def _described(self, full: str) -> dict[str, Any]:
        from kedro.io import DatasetError

        try:
            return self.catalog.get(full)._describe()
        except DatasetError as error:
            if (cause := own_cause(error)) is not None:
                raise InputError(f"catalog entry '{full}': {cause}") from None
            raise InputError(f"catalog entry '{full}' cannot be used: {error}") from error

    def group(self, name: str) -> dict[str, Any]:
        """Return one parameter group of this mount as plain values; empty where it has none."""
        holder = self.parameters.get(self.name, {}) if self.name else self.parameters
        found = holder.get(name, {})
        # Kedro hands out what the nodes' type hints made of it.
        return found.model_dump(mode="json") if hasattr(found, "model_dump") else dict(found)


def bootstrapped() -> tuple[Path, Any]:
    """Find the project around the current directory and prepare Kedro for it.

    Returns:
        The project's root and Kedro's metadata.

    Raises:
        InputError: this is no Kedro project.
    """
    root = project_path()
    # Kedro announces its logging on stdout, which belongs to a command's own lines.
    with redirect_stdout(sys.stderr):
        from kedro.framework.startup import bootstrap_project

        metadata = bootstrap_project(root)
    _log_to_stderr()
    return root, metadata


@contextmanager
def opened(env: str | None = None, mount: str | None = None) -> Iterator[Mount]:
    """Open the project around the current directory.

    Args:
        env: configuration environment.
        mount: namespace under which the pipelines are mounted.

    Raises:
        InputError: this is no Kedro project, or its configuration cannot be read.
    """
    from kedro.config import MissingConfigException
    from kedro.framework.session import KedroSession
    from kedro.io import DatasetError
    from kedro.validation.exceptions import ParameterValidationError

    from ptq_pipeline.configuration import check_parameters

    root, _ = bootstrapped()
    with KedroSession.create(root, env=env) as session:
        try:
            context = session.load_context()
            # Our own project's hook has done this; hosts of a mount have no such hook.
            check_parameters(context.config_loader["parameters"])
            project = Mount(root, context.catalog, dict(context.params), mount or "")
        except (ParameterValidationError, MissingConfigException, DatasetError) as error:
            raise InputError(f"the configuration of this project does not hold: {error}") from error
        yield project


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

    return click.option(
        "--mount",
        default=None,
        help="Namespace that the pipelines stand in.",
        shell_complete=_mounts,
    )(function)


def _mounts(context: Any, option: Any, incomplete: str) -> list[str]:
    """Names of the shims that `kedro ptq init` wrote, for the shell."""
    shims = project_path().glob("src/*/pipelines/*/__init__.py")
    names = sorted(p.parent.name for p in shims if "ptq_pipeline.mounting" in p.read_text("utf-8"))
    return [name for name in names if name.startswith(incomplete)]
