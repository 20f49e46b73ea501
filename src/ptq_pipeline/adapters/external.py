"""Whatever quantizes by a command: a vendor's toolchain, a converter, a script, as a method.

The command is given the float model as ONNX, a calibration set and a seed, and writes a quantized
model. So it is audited over many draws, with the store, resume and ledger like any method. What it
writes is an ONNX file, or whatever the runtime ``external`` executes by a command of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar, Literal

import numpy as np

from ptq_pipeline.adapters import arrays
from ptq_pipeline.core.external_command import ExternalCommand
from ptq_pipeline.core.inputs import read_regular
from ptq_pipeline.ptq import (
    Batches,
    MethodConfig,
    ModelFile,
    PreparedModel,
    QuantizationParameters,
    RegisteredMethod,
    WeightParameters,
)
from ptq_pipeline.ptq.export import export_onnx, require_one_file

NAMES = {"onnx": "model.onnx", "blob": "model.blob"}


@dataclass(frozen=True, kw_only=True)
class External(MethodConfig):
    """Options of a command.

    Attributes:
        command: The command with places: ``{model}`` is the float model (ONNX, input float32
            ``(n, C, H, W)``, prepared as in training), ``{calibration}`` an ``.npy`` file of
            float32 images of that shape, ``{output}`` where the quantized model goes, and
            ``{seed}`` a number.
        tool: Name and version of what quantizes, part of the trial's identity: a new version is
            a new trial.
        writes: ``onnx``, or ``blob``, one file that only the runtime ``external`` executes.
        seconds: After which the command is ended.
        scripts: SHA-256 of the files that the command names, part of the identity too; it is found
            when left out.

    Raises:
        InputError: The command lacks a place or has one that is not known, ``tool`` is missing, or
            a script is not the one whose hash was given.
    """

    later: ClassVar[tuple[str, ...]] = (*MethodConfig.later, "writes")

    command: str = ""
    tool: str = ""
    writes: Literal["onnx", "blob"] = "onnx"
    seconds: float = 3600.0
    scripts: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "scripts", self.parsed.scripts(self.tool, self.scripts))

    @property
    def file_format(self) -> str:
        """Format of the file that it writes."""
        return self.writes

    @property
    def parsed(self) -> ExternalCommand:
        """The command, checked."""
        return ExternalCommand(
            self.command,
            f"method {self.name}",
            ("model", "calibration", "output", "seed"),
            optional=frozenset({"model", "seed"}),
        )


def run(
    prepared: PreparedModel,
    batches: Batches,
    method: External,
    seed: int,
    weights: Mapping[str, WeightParameters] | None = None,
) -> QuantizationParameters:
    """Quantize with the command.

    Raises:
        InputError: It fails, takes too long, or writes no such file.
    """
    with TemporaryDirectory() as folder:
        model, calibration, output = (
            Path(folder) / name for name in ("float.onnx", "calibration.npy", "quantized.onnx")
        )
        model.write_bytes(export_onnx(prepared, None))
        np.save(calibration, np.concatenate(list(arrays(batches))), allow_pickle=False)
        places = {"model": model, "calibration": calibration, "seed": seed}
        method.parsed.run(output, method.seconds, **places)
        content = read_regular(output)
    if method.writes == "onnx":
        require_one_file(content)
    file = ModelFile(method.tool, method.writes, {NAMES[method.writes]: content})
    return QuantizationParameters({}, file=file)


METHOD = RegisteredMethod(
    name="external",
    paper="whatever the command runs",
    summary="a command that is given a calibration set and writes a quantized model",
    config=External,
    run=run,
    example={
        "command": "python quantize.py {model} {calibration} {output}",
        "tool": "name and version",
    },
)
