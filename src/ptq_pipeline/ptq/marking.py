"""Places that survive conversion: an operation that changes nothing, with the name of a module.

A converter keeps no boundary of a module whose output gets a quantizer, and may fuse what stands
around an operand of a matrix product into one attention operation. A leaky ReLU of slope 1 keeps
every value, breaks the fusion, is merged with no neighbour (as a clamp would be with a ReLU), and
can be found again by its module's name.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.ptq.modules import Operand, replace_module
from ptq_pipeline.ptq.preparation import PreparedModel

OUTPUT = "quantized_output"


class Mark(nn.Module):
    """Passes its input through a leaky ReLU that changes nothing."""

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x``."""
        return nn.functional.leaky_relu(x, 1.0)


def marked(prepared: PreparedModel, outputs: Iterable[str]) -> tuple[nn.Module, dict[str, str]]:
    """Return a copy of a prepared module with marks behind some of its modules.

    Args:
        prepared: the model; not changed.
        outputs: dotted names of modules whose output gets a quantizer.

    Returns:
        The copy, and by dotted name of each mark whose output it marks.

    Raises:
        InputError: the model has no module of that name.
    """
    module = copy.deepcopy(prepared.module)
    names: dict[str, str] = {}
    for output in outputs:
        try:
            child = module.get_submodule(output)
        except AttributeError:
            raise InputError(
                f"quantization parameters do not fit the model: it has no module {output!r}"
            ) from None
        if isinstance(child, Operand):
            replace_module(module, child, Mark())
            names[output] = output
        else:
            child.add_module(OUTPUT, Mark())
            # A sequence runs what is added to it.
            if type(child).forward is not nn.Sequential.forward:
                child.register_forward_hook(_mark_output)
            names[f"{output}.{OUTPUT}"] = output
    return module, names


def _mark_output(module: nn.Module, args: Any, output: Tensor) -> Tensor:
    return module.get_submodule(OUTPUT)(output)
