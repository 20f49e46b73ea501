"""Errors a user can act on: one sentence that says what is wrong, where, and what to do."""


class PtqPipelineError(Exception):
    """Base of all errors that this package raises on purpose."""


class InputError(PtqPipelineError, ValueError):
    """Data, configuration or a file that cannot be used as it is."""
