"""Errors a user can act on: one sentence that says what is wrong, where, and what to do."""

from collections.abc import Iterable, Iterator
from difflib import get_close_matches

from click import ClickException
from pydantic import ValidationError


class PtqPipelineError(ClickException):
    """Base of all errors that this package raises on purpose.

    A command that it reaches the top of, `kedro run` too, says the sentence without a traceback.
    """


class InputError(PtqPipelineError, ValueError):
    """Data, configuration or a file that cannot be used as it is."""


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


def first_fault(error: Exception) -> str:
    """Return the first thing that is wrong with a document, and where, in a few words."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_url=False)[0]
    place = ".".join(map(str, first["loc"]))
    # What a model of ours raised is a sentence of its own.
    said = first["ctx"]["error"] if first["type"] == "value_error" else first["msg"]
    return f"{place}: {said}" if place else str(said)
