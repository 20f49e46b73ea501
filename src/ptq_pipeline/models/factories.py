"""From a dotted path in a configuration to a network: the one place that resolves one.

Naming a factory means running its code, so a configuration that may come from others restricts
what may be named. Everything else that is chosen by name (methods, strategies, shifts, executors)
comes from a table of this package or from the entry points of installed packages.
"""

import importlib
import inspect
import re
import typing
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ptq_pipeline.core.errors import InputError

_DOTTED = re.compile(r"[A-Za-z_]\w*(?:[.:][A-Za-z_]\w*)+")


def build_network(
    dotted: str, arguments: Mapping[str, Any], allowed: Sequence[str] | None = None
) -> nn.Module:
    """Import a factory and call it with keyword arguments.

    Where something is ``allowed`` (see `import_factory`), no argument may name code either.

    Raises:
        InputError: the factory or an argument is not allowed, or what it returns is no network.
    """
    factory = import_factory(dotted, allowed)
    if allowed is not None:
        for text in _texts(arguments):
            if _names_code(text):
                raise InputError(
                    f"model factory '{dotted}': the argument '{text}' names code of an installed "
                    "package; a restricted factory takes plain values only"
                )
    try:
        made = factory(**arguments)
    except Exception as error:  # a factory may fail with anything
        reason = " ".join(str(error).split())
        raise InputError(
            f"model factory '{dotted}' cannot be called with {dict(arguments)} "
            f"({type(error).__name__}: {reason}); correct 'arguments' of the model entry"
        ) from error
    module = _unwrapped(made)
    if isinstance(module, torch.jit.ScriptModule):
        raise InputError(
            f"model factory '{dotted}' returns a TorchScript network, whose layers cannot be "
            "quantized; give what builds it in Python"
        )
    if not isinstance(module, nn.Module):
        kind = "nothing" if made is None else f"a {type(made).__name__}"
        raise InputError(
            f"model factory '{dotted}' returns {kind} and no torch.nn.Module; give the dotted path "
            "of what builds the network"
        )
    return module


def _unwrapped(made: Any) -> Any:
    """Take off what runs a network in parallel or compiled: it is the same network."""
    while True:
        # By its name: importing what compiles takes as long as torch itself.
        if type(made).__name__ == "OptimizedModule":
            made = made._orig_mod
        elif isinstance(made, nn.DataParallel | DistributedDataParallel):
            made = made.module
        else:
            return made


def import_factory(dotted: str, allowed: Sequence[str] | None = None) -> Any:
    """Import the callable at ``package.module.name``; importing runs that module's code.

    Args:
        dotted: dotted path of the callable.
        allowed: exact dotted paths, and packages that end in a dot. Of a package, the public
            classes that are a ``torch.nn.Module`` and the public functions that are annotated to
            return one may be named, as far as they are defined in it, in no private module. None
            allows everything.

    Raises:
        InputError: if the path is not allowed or does not lead to a callable.
    """
    packages = tuple(entry for entry in allowed or () if entry.endswith("."))
    exact = allowed is None or dotted in allowed
    if not exact and not _within(dotted, packages):
        raise InputError(
            f"model factory '{dotted}' is outside 'allowed_factories' {list(allowed or ())}; add "
            "its exact path to the model's catalog entry, or its package with a dot at the end"
        )
    module_name, _, name = dotted.rpartition(".")
    try:
        factory = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(
            f"model factory '{dotted}' cannot be imported ({error}); "
            "give the dotted path of a callable, like 'torchvision.models.resnet18'"
        ) from error
    if not callable(factory):
        raise InputError(f"model factory '{dotted}' is not callable")
    if not exact and not (_within(_home(factory), packages) and _makes_network(factory)):
        raise InputError(
            f"model factory '{dotted}' is not a public network of the packages in "
            f"'allowed_factories' {list(packages)}: a class of torch.nn.Module, or a function that "
            "is annotated to return one; add its exact path if it is meant"
        )
    return factory


def _within(dotted: str, packages: tuple[str, ...]) -> bool:
    parts = dotted.split(".")
    public = all(part.isidentifier() and not part.startswith("_") for part in parts)
    return public and dotted.startswith(packages)


def _home(factory: Any) -> str:
    """Where a function or class is defined, whatever name led to it; empty for other objects."""
    if not (inspect.isfunction(factory) or inspect.isclass(factory)):
        return ""
    return f"{factory.__module__}.{factory.__qualname__}"


def _makes_network(factory: Any) -> bool:
    # What is defined here resolves dotted paths itself, and nothing restricts those.
    if factory.__module__ == __name__:
        return False
    try:
        made = factory if inspect.isclass(factory) else typing.get_type_hints(factory)["return"]
    except Exception:  # noqa: BLE001 - no annotation, or one that cannot be resolved
        return False
    return inspect.isclass(made) and issubclass(made, nn.Module)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _texts(key)
            yield from _texts(inner)
    elif isinstance(value, list | tuple | set):
        for inner in value:
            yield from _texts(inner)


def _names_code(text: str) -> bool:
    """Whether a text is a dotted path into a package that can be imported; none is imported."""
    if not _DOTTED.fullmatch(text):
        return False
    try:
        return find_spec(re.split("[.:]", text)[0]) is not None
    except (ImportError, ValueError):
        return True
