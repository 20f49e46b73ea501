"""Errors of the engine."""

from ptq_pipeline.core.errors import InputError


class PreparationError(InputError):
    """A model that cannot be quantized as it is."""
