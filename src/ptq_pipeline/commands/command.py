"""What a command is: options, errors as one paragraph, exit codes, JSON."""

import functools
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from contextvars import ContextVar
from dataclasses import dataclass
from typing import IO, Any

import click

from ptq_pipeline.core.errors import PtqPipelineError, causes_of
from ptq_pipeline.core.exits import ExitCode

MOST_CHARACTERS = 500
STDOUT, STDERR = 1, 2

# Where JSON is written; None without ``--json``.
_json_stream: ContextVar[IO[str] | None] = ContextVar("json_stream", default=None)


@dataclass(frozen=True)
class Answer:
    """What a command says: ``content`` to programs, as JSON; ``lines`` and ``notes`` to people.

    Lines go to stdout, notes to stderr.
    """

    content: Any
    lines: Iterable[str] = ()
    notes: Iterable[str] = ()
    code: int = ExitCode.DONE


Function = Callable[..., Answer | None]


def command(**attributes: Any) -> Callable[[Function], click.Command]:
    """Declare a function as a command: ``--json``, ``--verbose``, errors and exit codes.

    The command has the function's name, with hyphens; ``attributes`` are those of `click.command`.
    The function returns its `Answer`, or None where it has said all itself. An error is printed as
    one paragraph on stderr and exits with 1; ``--verbose`` adds the traceback. Ctrl-C exits with
    130. With ``--json`` nothing but the answer's content reaches stdout.
    """

    def declare(function: Function) -> click.Command:
        @functools.wraps(function)
        def run(*args: Any, verbose: bool, as_json: bool, **kwargs: Any) -> None:
            def answered() -> int:
                answer = function(*args, **kwargs)
                return ExitCode.DONE if answer is None else say(answer)

            with _stdout_for_json() if as_json else nullcontext():
                code = _guarded(answered, verbose)
            sys.exit(code)

        run = click.option("--verbose", is_flag=True, help="Show the traceback of an error.")(run)
        run = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")(run)
        return click.command(function.__name__.replace("_", "-"), **attributes)(run)

    return declare


def say(answer: Answer) -> int:
    """Print an answer; return its exit code."""
    stream = _json_stream.get()
    if stream is not None:
        text = json.dumps(answer.content, indent=2, sort_keys=True, ensure_ascii=False)
        click.echo(text, file=stream)
        return int(answer.code)
    for line in answer.lines:
        click.echo(line)
    for note in answer.notes:
        click.echo(note, err=True)
    return int(answer.code)


def tell(line: str) -> None:
    """Print a line for people at once, before the answer; nothing with ``--json``."""
    if _json_stream.get() is None:
        click.echo(line)


@contextmanager
def _stdout_for_json() -> Iterator[None]:
    """Keep stdout for JSON: what libraries print, also from C, goes to stderr.

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


def _guarded(function: Callable[[], int], verbose: bool) -> int:
    try:
        return function()
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
