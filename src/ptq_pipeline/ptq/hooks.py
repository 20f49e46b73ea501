"""Hooks on modules: to see what passes, or to change it, and to be gone afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

Visit = Callable[[str, Tensor], None]
Change = Callable[[Tensor], Tensor]


@contextmanager
def during(handles: Iterable[RemovableHandle]) -> Iterator[None]:
    """Keep hooks for the time of a ``with`` statement."""
    kept = list(handles)
    try:
        yield
    finally:
        for handle in kept:
            handle.remove()


def change_input(module: nn.Module, change: Change) -> RemovableHandle:
    """Change the first argument of a module."""
    return module.register_forward_pre_hook(lambda child, args: (change(args[0]), *args[1:]))


def change_output(module: nn.Module, change: Change) -> RemovableHandle:
    """Change what a module returns."""
    return module.register_forward_hook(lambda child, args, output: change(output))


def visit_input(module: nn.Module, name: str, visit: Visit) -> RemovableHandle:
    """Hand over the first argument of a module."""
    return module.register_forward_pre_hook(lambda child, args: visit(name, args[0]))


def visit_outputs(root: nn.Module, names: Iterable[str], images: Tensor, visit: Visit) -> None:
    """Run a model and hand over what some of its modules return, at once and one at a time.

    Args:
        root: the model.
        names: dotted names of modules that return one tensor.
        images: one batch.
        visit: gets name and output, before anything later can change the output in place.
    """
    handles = [
        root.get_submodule(name).register_forward_hook(
            lambda child, args, output, name=name: visit(name, output)
        )
        for name in names
    ]
    with during(handles), torch.no_grad():
        root(images)


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a module; tensors are kept alive, so that their identities stay their own.

    Attributes:
        name: dotted name of the module.
        input: its argument; None unless it was called with one tensor alone.
        output: what it returned.
    """

    name: str
    input: Tensor | None
    output: Any


def calls_of(root: nn.Module, images: Tensor) -> list[Call]:
    """Return every call of a module in one forward pass, in the order in which they end."""
    calls: list[Call] = []

    def hook_for(name: str) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: Any, output: Any) -> None:
            alone = len(args) == 1 and not kwargs and isinstance(args[0], Tensor)
            calls.append(Call(name, args[0] if alone else None, output))

        return hook

    handles = [
        module.register_forward_hook(hook_for(name), with_kwargs=True)
        for name, module in root.named_modules()
    ]
    with during(handles), torch.no_grad():
        root(images)
    return calls
