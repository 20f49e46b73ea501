"""Parameters checked in words: one sentence instead of what Kedro and pydantic would print."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from kedro.framework.project import pipelines
from kedro.validation.type_extractor import TypeExtractor
from kedro.validation.utils import resolve_nested_dict_path
from pydantic import BaseModel, ValidationError

from ptq_pipeline.core.errors import InputError, did_you_mean
from ptq_pipeline.project_template import GROUPS

Model = TypeVar("Model", bound=BaseModel)

# Of a setting's value that are shown.
MOST_CHARACTERS = 100
# What a host has, and what only this project's own studies read.
PARAMETER_GROUPS = frozenset({*GROUPS, "benchmark", "reference_training"})


_left_to_readers: ContextVar[bool] = ContextVar("left_to_readers", default=False)


@contextmanager
def left_to_readers() -> Iterator[None]:
    """Let hooks read no parameters inside: who reads a group checks it, with `checked`.

    Checking all of them takes the pipelines that read them, and so every library of this package.
    """
    kept = _left_to_readers.set(True)
    try:
        yield
    finally:
        _left_to_readers.reset(kept)


def is_left_to_readers() -> bool:
    """Say whether a command opens the project, which reads parameters when it needs them."""
    return _left_to_readers.get()


def refuse_unknown_groups(groups: Iterable[str], where: str) -> None:
    """Check the names of parameter groups.

    Raises:
        InputError: naming those that there are not, and the nearest that there is.
    """
    if unknown := sorted(set(groups) - PARAMETER_GROUPS):
        meant = did_you_mean(unknown[0], PARAMETER_GROUPS)
        raise InputError(
            f"unknown parameter group(s) {', '.join(unknown)} {where}; {meant} The groups are "
            f"{', '.join(sorted(PARAMETER_GROUPS))}"
        )


def check_parameters(parameters: Mapping[str, Any]) -> None:
    """Check every parameter that a node takes as a model of ours, before Kedro makes models.

    Raises:
        InputError: Naming the first setting that does not hold, what is wrong with it, and how many
            more there are.
    """
    for name, model in TypeExtractor(dict(pipelines)).extract_types_from_pipelines().items():
        given = resolve_nested_dict_path(dict(parameters), name)
        # What is missing or no model of ours is left to Kedro.
        if isinstance(given, Mapping) and _is_ours(model):
            checked(name, given, model)


def _is_ours(model: Any) -> bool:
    return (
        isinstance(model, type)
        and issubclass(model, BaseModel)
        and model.__module__.partition(".")[0] == __package__
    )


def checked(name: str, given: Mapping[str, Any], model: type[Model]) -> Model:
    """Return what the configuration says of the group ``name`` as its model.

    Raises:
        InputError: as from `check_parameters`.
    """
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise InputError(_sentence(name, given, error, model)) from None


def _sentence(name: str, given: Any, error: ValidationError, model: type[BaseModel]) -> str:
    first, *more = error.errors(include_url=False)
    place = ".".join([name, *_places(given, first["loc"])])
    text = {
        # Kedro's way, which surprises: see docs/mounting.md.
        "missing": "is missing; add it (without merge_strategy 'soft' an environment, or --params "
        "beside --env, replaces a group as a whole)",
    }.get(first["type"])
    if first["type"] == "extra_forbidden":
        text = f"is no setting; {did_you_mean(str(first['loc'][-1]), _settings_of(model))}"
    if first["type"] == "value_error":
        # Raised by our own models; some name the group themselves.
        text = str(first["ctx"]["error"]).rstrip(".").removeprefix(f"{place}: ")
    elif text is None:
        text = f"{first['msg'].replace('Input should', 'should')}, but is {_short(first['input'])}"
    rest = f"; {len(more)} more settings there do not hold" if more else ""
    return f"{place}: {text}{rest} (in conf/ or --params)"


def _settings_of(model: type[BaseModel]) -> set[str]:
    """Names of all settings of a model, also of those inside."""
    schema = model.model_json_schema()
    models = (schema, *schema.get("$defs", {}).values())
    return {name for each in models for name in each.get("properties", {})}


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= MOST_CHARACTERS else f"{shown[:MOST_CHARACTERS]} ..."


def _places(given: Any, places: tuple[int | str, ...]) -> list[str]:
    """Keys on the way to a setting, without the tags that pydantic adds where it chose a model."""
    found = []
    for number, place in enumerate(places):
        inside = isinstance(given, Mapping) and place in given
        if inside or (isinstance(given, list) and isinstance(place, int)):
            given = given[place]
            found.append(str(place))
        elif number == len(places) - 1:
            found.append(str(place))
    return found
