"""Parameters of one environment over those of another."""

from collections.abc import Mapping
from typing import Any

from pydantic import BeforeValidator


def _without_null(given: Any) -> Any:
    if not isinstance(given, Mapping):
        return given
    return {name: value for name, value in given.items() if value is not None}


# Of a mapping in the parameters: an environment removes an entry of another by `null`.
WITHOUT_NULL = BeforeValidator(_without_null)
