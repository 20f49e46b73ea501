"""AdaRound, BRECQ and QDrop: the originals, and presets for machines without a GPU."""

from __future__ import annotations

from typing import Any

from ptq_pipeline.ptq.methods.registry import RegisteredMethod, register
from ptq_pipeline.ptq.reconstruction import Reconstruction, reconstruct

ADAROUND: dict[str, Any] = {
    "unit": "layer",
    "placement": "layer_input",
    "activations": "range",
    "iterations": 10_000,
    "weight_symmetric": True,
    "first_last_8_bit": False,
    "annealing": "cosine",
}
GPTQ: dict[str, Any] = ADAROUND | {"initial": "second_order", "iterations": 0}
BRECQ: dict[str, Any] = {"activations": "after", "step_lr": 4e-4}
QDROP: dict[str, Any] = {"activations": "joint", "step_lr": 4e-5}
CPU: dict[str, Any] = {"iterations": 200, "rounding_lr": 3e-2}

PAPERS = {
    "gptq": "Frantar et al., ICLR 2023 (arXiv 2210.17323)",
    "adaround": "Nagel et al., ICML 2020 (arXiv 2004.10568)",
    "brecq": "Li et al., ICLR 2021 (arXiv 2102.05426)",
    "qdrop": "Wei et al., ICLR 2022 (arXiv 2203.05740)",
}
SUMMARIES = {
    "gptq": "second-order rounding in closed form, layer by layer",
    "adaround": "learned rounding, layer by layer",
    "brecq": "learned rounding, block by block, then learned activation steps",
    "qdrop": "learned rounding and activation steps, activations randomly left in float",
}


def _register(name: str, defaults: dict[str, Any], remark: str = "") -> None:
    origin = name.removesuffix("_cpu")
    register(
        RegisteredMethod(
            name=name,
            paper=PAPERS[origin],
            summary=SUMMARIES[origin] + remark,
            config=Reconstruction,
            run=reconstruct,
            defaults=defaults,
        )
    )


_register("gptq", GPTQ)
_register("adaround", ADAROUND)
_register("brecq", BRECQ)
_register("qdrop", QDROP)
FAST = ", in few large steps"
_register("adaround_cpu", ADAROUND | CPU, FAST)
_register("brecq_cpu", BRECQ | CPU | {"activation_iterations": 100, "step_lr": 4e-3}, FAST)
_register("qdrop_cpu", QDROP | CPU | {"step_lr": 1e-3}, FAST)
