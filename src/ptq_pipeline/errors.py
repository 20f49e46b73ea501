"""Errors a user can act on: one sentence that says what is wrong, where, and what to do."""

from click import ClickException


class PtqPipelineError(ClickException):
    """Base of all errors that this package raises on purpose.

    A command that it reaches the top of, `kedro run` too, says the sentence without a traceback.
    """


class InputError(PtqPipelineError, ValueError):
    """Data, configuration or a file that cannot be used as it is."""
