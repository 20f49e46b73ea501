"""What all commands share: errors as one paragraph, exit codes, JSON, and the Kedro project."""

import functools
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from contextvars import ContextVar
from pathlib import Path
from typing import IO, Any

import click

from ptq_pipeline.commands.exit_codes import ExitCode
from ptq_pipeline.errors import PtqPipelineError, causes_of

MOST_CHARACTERS = 500
STDOUT, STDERR = 1, 2

# Where `print_json` writes; None is stdout.
_json_stream: ContextVar[IO[str] | None] = ContextVar("json_stream", default=None)


def command(name: str, **attributes: Any) -> Callable[[Callable[..., int | None]], click.Command]:
    """Declare a command: like `click.command`, with ``--verbose``, error texts and exit codes.

    The function returns its exit code, or None for 0. An error is printed as one paragraph on
    stderr and exits with 1; ``--verbose`` adds the traceback. Ctrl-C exits with 130. With
    ``--json`` nothing but what `print_json` prints reaches stdout.
    """

    def declare(function: Callable[..., int | None]) -> click.Command:
        @functools.wraps(function)
        def run(*args: Any, verbose: bool, **kwargs: Any) -> None:
            quiet = _stdout_for_json() if kwargs.get("as_json") else nullcontext()
            with quiet:
                code = _guarded(functools.partial(function, *args, **kwargs), verbose)
            sys.exit(code)

        option = click.option("--verbose", is_flag=True, help="Show the traceback of an error.")
        return click.command(name, **attributes)(option(run))

    return declare


def json_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--json``, given to the function as ``as_json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")(
        function
    )


def env_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--env``, the configuration environment."""
    return click.option(
        "--env",
        "-e",
        default=None,
        help="Configuration environment.",
        shell_complete=_environments,
    )(function)


def _environments(context: click.Context, option: click.Parameter, incomplete: str) -> list[str]:
    """The folders of conf/, for the shell."""
    found = sorted(path.name for path in project_path().glob("conf/*") if path.is_dir())
    return [name for name in found if name.startswith(incomplete)]


def print_json(value: Any) -> None:
    """Print ``value`` as indented JSON with sorted keys."""
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)
    click.echo(text, file=_json_stream.get())


@contextmanager
def _stdout_for_json() -> Iterator[None]:
    """Keep stdout for `print_json`: what libraries print, also from C, goes to stderr.

    The process's own stdout stays redirected until it ends, because C libraries may hold what they
    printed until then.
    """
    stream = sys.stdout
    if stream is sys.__stdout__:
        stream = os.fdopen(os.dup(STDOUT), "w", encoding="utf-8", errors="surrogateescape")
        sys.stdout.flush()
        os.dup2(STDERR, STDOUT)
    kept = _json_stream.set(stream)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _json_stream.reset(kept)


def project_path() -> Path:
    """Return the root of the Kedro project around the current directory.

    Raises:
        InputError: there is none.
    """
    from kedro.utils import find_kedro_project

    from ptq_pipeline.errors import InputError

    found = find_kedro_project(Path.cwd())
    if found is None:
        raise InputError(
            f"'{Path.cwd()}' is not inside a Kedro project; call this where pyproject.toml stands"
        )
    return found


def _guarded(function: Callable[[], int | None], verbose: bool) -> int:
    try:
        return int(function() or ExitCode.DONE)
    except KeyboardInterrupt:
        return _interrupted()
    except BrokenPipeError:
        # Whoever read us has seen enough (`| head`); the flush at exit must not complain either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.ERROR
    except PtqPipelineError as error:
        if verbose:
            traceback.print_exc()
        click.echo(f"error: {error}", err=True)
        return ExitCode.ERROR
    except Exception as error:  # noqa: BLE001 - a traceback is for those who ask for it
        if any(isinstance(cause, KeyboardInterrupt) for cause in causes_of(error)):
            # Modules written in C make other errors of it while they are imported.
            return _interrupted()
        if verbose:
            traceback.print_exc()
        what = f"{type(error).__name__}: {' '.join(str(error).split())}"
        way_out = "" if verbose else "; --verbose shows where"
        click.echo(f"error: unexpected {what[:MOST_CHARACTERS]}{way_out}", err=True)
        return ExitCode.ERROR


def _interrupted() -> int:
    click.echo("interrupted; what was finished is kept", err=True)
    return ExitCode.INTERRUPTED
