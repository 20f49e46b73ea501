"""What a model hands to its units, asked for in call order: no layer is run twice on the way.

A block takes one tensor and returns one, so its layers are reached from the block's own input, and
a block that reads what the one before it returned takes that. Only what is reached in no such way
is run from the images on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ptq_pipeline.ptq.preparation import PreparedModel
from ptq_pipeline.ptq.reconstruction.units import IMAGES_AT_A_TIME, Unit, partition
from ptq_pipeline.ptq.tracing import Call, trace


@dataclass(frozen=True, eq=False)
class Stage:
    """A block, or a layer outside of blocks, and the stage whose very output it reads, or ""."""

    unit: Unit
    follows: str


class Prefix:
    """A model up to its units; what comes before a unit may no longer change when it is asked for.

    Args:
        root: the model, which may change behind the unit that was asked for last.
        images: float32 ``(n, C, H, W)``.
        stages: of `stages_of`.
    """

    def __init__(self, root: nn.Module, images: Tensor, stages: Mapping[str, Stage]) -> None:
        self.root, self.images, self.stages = root, images, stages
        self._at: Stage | None = None
        self._inputs = images

    def input_of(self, unit: Unit) -> Tensor:
        """Return the input of a unit on all images."""
        stage = self.stages.get(unit.layers[0])
        if stage is None:
            return unit.input_of(self.root, self.images)
        if stage is not self._at:
            self._inputs, self._at = self._input_of_stage(stage), stage
        if unit.name == stage.unit.name:
            return self._inputs
        return unit.input_of(self.root, self._inputs, start=stage.unit.name)

    def _input_of_stage(self, stage: Stage) -> Tensor:
        if self._at is None or stage.follows != self._at.unit.name:
            return stage.unit.input_of(self.root, self.images)
        with torch.no_grad():
            parts = self._inputs.split(IMAGES_AT_A_TIME)
            return torch.cat([self._at.unit.run(self.root, part.clone()) for part in parts])


def stages_of(prepared: PreparedModel, images: Tensor) -> dict[str, Stage]:
    """Return the stage of each layer that is in one.

    Two images show that a stage returns the same when it is run alone on its input, after the model
    has seen others; a stage that reads what other parts of the model left behind is none.
    """
    units, _ = partition(prepared, blocks=True)
    calls = trace(prepared.module, images[:2]).calls
    by_name = {call.name: call for call in calls}
    found: dict[str, Stage] = {}
    for unit in units:
        entry, exit_ = by_name[unit.name], by_name[unit.output]
        if entry.input is None or not _repeats(prepared.module, unit, images[:2], entry, exit_):
            continue
        before = [
            stage.unit.name
            for stage in dict.fromkeys(found.values())
            if _is_output(by_name[stage.unit.output], entry)
        ]
        stage = Stage(unit, before[-1] if before else "")
        found |= dict.fromkeys(unit.layers, stage)
    return found


@torch.no_grad()
def _repeats(root: nn.Module, unit: Unit, images: Tensor, entry: Call, exit_: Call) -> bool:
    assert entry.input is not None
    root(-images)
    again = unit.run(root, entry.input.clone())
    unchanged = exit_.output_version == exit_.output._version
    return unchanged and torch.equal(again, exit_.output)


def _is_output(made: Call, entry: Call) -> bool:
    """Whether a call took what another one returned, and nothing changed it in place since."""
    return entry.input is made.output and entry.input_version == made.output_version
