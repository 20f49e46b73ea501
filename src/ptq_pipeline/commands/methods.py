"""``kedro ptq methods``: what can quantize a model here."""

from collections.abc import Iterator
from typing import Any

import click

from ptq_pipeline.commands.command import Answer, command
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.ptq import find_method, method_names


@command(epilog="Example: kedro ptq methods --json")
def methods() -> Answer:
    """List quantization methods with paper, bits and options, those of plug-ins included."""
    found = [_described(name) for name in method_names()]
    return Answer(found, (line for entry in found for line in _lines(entry)))


def _lines(entry: dict[str, Any]) -> Iterator[str]:
    yield f"{entry['name']}: {entry['summary']}"
    if "error" in entry:
        return
    yield f"    paper    {entry['paper']}"
    bits = f"weights {_range(entry['weight_bits'])}, {_range(entry['activation_bits'])}"
    yield f"    bits     {bits} activations"
    options = ", ".join(f"{key}={_short(value)}" for key, value in entry["options"].items())
    yield click.wrap_text(f"options  {options}", 96, "    ", "             ")


def _described(name: str) -> dict[str, Any]:
    try:
        method = find_method(name)
        options = method.options()
    except InputError as error:
        # One broken package must not hide the others.
        return {"name": name, "summary": f"not usable: {error}", "error": str(error)}
    return {
        "name": method.name,
        "paper": method.paper,
        "summary": method.summary,
        "weight_bits": list(method.weight_bits),
        "activation_bits": list(method.activation_bits),
        "options": options,
    }


def _range(bits: list[int]) -> str:
    if bits == list(range(bits[0], bits[-1] + 1)) and len(bits) > 2:
        return f"{bits[0]}-{bits[-1]}"
    return ", ".join(map(str, bits))


def _short(value: Any) -> str:
    if isinstance(value, dict) and "name" in value:
        options = ", ".join(f"{key}={item}" for key, item in value.items() if key != "name")
        return f"{value['name']}({options})" if options else value["name"]
    return str(list(value) if isinstance(value, tuple) else value)
