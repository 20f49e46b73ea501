"""Errors a user can act on: one sentence that says what is wrong, where, and what to do."""

import errno
from collections.abc import Iterable, Iterator
from difflib import get_close_matches

from click import ClickException
from pydantic import ValidationError

# Errors of a place that the user may not write to.
FORBIDDEN = frozenset({errno.EACCES, errno.EPERM})


class PtqPipelineError(ClickException):
    """Base of all errors that this package raises on purpose.

    A command that it reaches the top of, `kedro run` too, says the sentence without a traceback.
    """


class InputError(PtqPipelineError, ValueError):
    """Data, configuration or a file that cannot be used as it is."""


class WriteError(PtqPipelineError, OSError):
    """A file that the disk does not take; ``errno`` is that of the error behind it."""

    def __init__(self, place: object, error: OSError) -> None:
        forbidden = error.errno in FORBIDDEN
        way = "choose a place where you may write" if forbidden else "make room or repair the disk"
        super().__init__(
            f"'{place}' cannot be written ({error.strerror or error}); what was there is as it "
            f"was: {way}, and do the same again"
        )
        self.errno = error.errno


class NoSpaceError(WriteError, InputError):
    """A file that does not fit on the disk, said before or when it is written."""

    def __init__(self, message: str) -> None:
        PtqPipelineError.__init__(self, message)
        self.errno = errno.ENOSPC


class StorageError(PtqPipelineError, OSError):
    """Object storage that does not answer, or lets nobody in."""


class DeviceError(PtqPipelineError, OSError):
    """A device that gives no answers, which says nothing of the model that it was given."""


def causes_of(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error, what it was raised from, and so on."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def own_cause(error: BaseException) -> PtqPipelineError | None:
    """Return the error of this package that other code wrapped in its own, if there is one."""
    return next((each for each in causes_of(error) if isinstance(each, PtqPipelineError)), None)


def did_you_mean(
    name: str, known: Iterable[str], otherwise: str = "correct its name or remove it"
) -> str:
    """Say which known name was probably meant, or what to do where none is near.

    Examples:
        >>> did_you_mean("drws", ["draws", "seed"])
        "did you mean 'draws'?"
        >>> did_you_mean("colour", ["draws", "seed"])
        'correct its name or remove it'
    """
    near = get_close_matches(name, sorted(known), n=1)
    return f"did you mean '{near[0]}'?" if near else otherwise


def first_line(error: BaseException) -> str:
    """Return the first line of what an error of another library says, or its type."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".:") if lines else type(error).__name__


def first_fault(error: Exception) -> str:
    """Return the first thing that is wrong with a document, and where, in a few words."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_url=False)[0]
    place = ".".join(map(str, first["loc"]))
    # What a model of ours raised is a sentence of its own.
    said = first["ctx"]["error"] if first["type"] == "value_error" else first["msg"]
    return f"{place}: {said}" if place else str(said)
