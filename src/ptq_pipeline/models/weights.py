"""Files of weights as people have them: what is a state dict in them, and under which names."""

import io
import logging
import pickle
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ptq_pipeline.core.errors import InputError, first_line
from ptq_pipeline.core.inputs import read_regular

log = logging.getLogger(__name__)

SAVED = "torch.save(model.state_dict(), 'weights.pt')"
# What `torch.compile` puts between names, and `AveragedModel` beside them.
_COMPILED, _COUNTER = "_orig_mod", "n_averaged"
_FORBIDDEN = re.compile(r"Unsupported (?:global|class|operand)[^\n]*?(?:GLOBAL )?([\w.]+) was not")
_STATISTICS = "num_batches_tracked"


def read_weights(
    path: Path, sha256: str | None = None, key: str | None = None
) -> dict[str, Tensor]:
    """Read a state dict from ``.safetensors``, or from a torch file without unpickling objects.

    A checkpoint holds the state dict below a key (``state_dict``, ``model``); one that holds
    several needs ``key``, the dotted name of the one that is meant.

    Raises:
        InputError: if the file is missing, damaged, another one, holds no state dict or several,
            or NaN or infinite values.
    """
    if not path.exists():
        raise InputError(
            f"weights file '{path}' does not exist; check 'weights' of the model entry"
        )
    # What is hashed is what is loaded, whatever happens to the file meanwhile.
    content = read_regular(path, sha256)
    stored = _loaded(content, path)
    state = _chosen(stored, path, key)
    for name, value in state.items():
        if value.is_quantized:
            raise InputError(
                f"weights file '{path}': tensor '{name}' is quantized already; give the weights of "
                "the float model"
            )
    check_finite(state, path)
    return state


def check_finite(state: Mapping[str, Tensor], path: Path) -> None:
    """Raise InputError if a tensor of a file holds NaN or infinite values."""
    for name, value in state.items():
        if value.dtype.is_floating_point and not torch.isfinite(value).all():
            raise InputError(
                f"weights file '{path}': tensor '{name}' holds NaN or infinite values; "
                "export the weights of a healthy checkpoint"
            )


def _loaded(content: bytes, path: Path) -> Any:
    # A safetensors file begins with the length of its JSON, a torch file is a zip or a pickle.
    if content[8:9] != b"{" and not content.startswith((b"PK", b"\x80")):
        begins = f"begins with {content[:16]!r}" if content else "is empty"
        raise InputError(
            f"weights file '{path}' {begins}, which no safetensors or torch file does; write one "
            f"with {SAVED}"
        )
    try:
        if content[8:9] == b"{":
            return load(content)
        with warnings.catch_warnings():
            # That it looks like a TorchScript archive is said below.
            warnings.simplefilter("ignore")
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:
        said = str(error)
        if "TorchScript" in said:
            raise InputError(
                f"weights file '{path}' is a TorchScript archive and no state dict; write one with "
                f"{SAVED}"
            ) from error
        if isinstance(error, pickle.UnpicklingError) and "Weights only load failed" in said:
            found = _FORBIDDEN.search(said)
            what = f"an object of Python ('{found[1]}')" if found else "objects of Python"
            raise InputError(
                f"weights file '{path}' cannot be read: it holds {what} beside tensors, and "
                f"loading that would run code; write the tensors alone with {SAVED}"
            ) from error
        raise InputError(f"weights file '{path}' cannot be read: {first_line(error)}") from error


def _chosen(stored: Any, path: Path, key: str | None) -> dict[str, Tensor]:
    found = dict(_state_dicts(stored))
    if key is not None:
        if key not in found:
            raise InputError(
                f"weights file '{path}' holds no state dict '{key}' ('weights_key' of the model "
                f"entry); it holds {_listed(found)}"
            )
        return found[key]
    if not found:
        what = f"a {type(stored).__name__}"
        if isinstance(stored, Mapping):
            others = [str(name) for name, value in stored.items() if not isinstance(value, Tensor)]
            what = f"'{others[0]}', which is no tensor," if others else "nothing"
        raise InputError(f"weights file '{path}' holds {what} and no state dict; write {SAVED}")
    if len(found) > 1:
        raise InputError(
            f"weights file '{path}' holds several state dicts, {_listed(found)}; say which one is "
            f"meant by 'weights_key: {next(iter(found))}' in the model entry"
        )
    return next(iter(found.values()))


def _listed(names: Mapping[str, Any]) -> str:
    return ", ".join(f"'{name}'" for name in names) or "none"


def _state_dicts(stored: Any, name: str = "") -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Yield every mapping from names to tensors, by the dotted name that leads to it."""
    if not isinstance(stored, Mapping) or not all(isinstance(key, str) for key in stored):
        return
    if stored and all(isinstance(value, Tensor) for value in stored.values()):
        yield name, dict(stored)
        return
    for key, value in stored.items():
        yield from _state_dicts(value, f"{name}.{key}" if name else key)


def fit_state(module: nn.Module, state: Mapping[str, Tensor], misfit: str) -> None:
    """Load a state dict into a network, without what wrappers put in front of its names.

    These are ``module.`` of parallel training, ``_orig_mod.`` of `torch.compile`, and any other
    beginning that all names share and without which they are the network's.

    Raises:
        InputError: beginning with ``misfit``, if names, shapes or kinds of numbers are not those of
            the network.
    """
    own = module.state_dict()
    wanted = {name for name in own if not name.endswith(_STATISTICS)}
    state = _own_names(state, wanted)
    for name in sorted(wanted & state.keys()):
        _require_alike(name, own[name], state[name], misfit)
    try:
        result = module.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise InputError(f"{misfit}: {' '.join(str(error).split())}") from error
    # The counter of batch norm plays no part in evaluation and is often left out.
    missing = [key for key in result.missing_keys if not key.endswith(_STATISTICS)]
    unexpected = result.unexpected_keys
    if missing or unexpected:
        raise InputError(
            f"{misfit}: missing {missing[:3]} ({len(missing)}), unexpected {unexpected[:3]} "
            f"({len(unexpected)}); check factory, its arguments and the file"
        )


def _require_alike(name: str, wanted: Tensor, found: Tensor, misfit: str) -> None:
    if is_lazy(wanted):
        return
    if wanted.shape != found.shape:
        raise InputError(
            f"{misfit}: '{name}' is {tuple(found.shape)} in the file and {tuple(wanted.shape)} in "
            "the network; check the factory and its arguments, such as the number of classes"
        )
    if wanted.is_floating_point() and not found.is_floating_point():
        raise InputError(
            f"{misfit}: '{name}' holds {found.dtype} in the file and {wanted.dtype} in the "
            "network; give the weights of the float model"
        )


def _own_names(state: Mapping[str, Tensor], wanted: set[str]) -> Mapping[str, Tensor]:
    if wanted <= set(state):
        return state
    kept = {name: value for name, value in state.items() if name != _COUNTER}
    plain = {
        ".".join(part for part in name.split(".") if part != _COMPILED): value
        for name, value in kept.items()
    }
    names = [name for name in plain if not name.endswith(_STATISTICS)]
    first = names[0].split(".") if names else []
    for length in range(len(first)):
        start = "".join(f"{part}." for part in first[:length])
        if wanted == {name.removeprefix(start) for name in names if name.startswith(start)}:
            if len(names) > len(wanted):
                continue
            if start:
                log.info("weights: every name begins with '%s', which is left out", start)
            return {name.removeprefix(start): value for name, value in plain.items()}
    return state
