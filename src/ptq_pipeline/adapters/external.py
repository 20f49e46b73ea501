"""Whatever quantizes by a command: a vendor's toolchain, a converter, a script, as a method.

The command is given the float model as ONNX, a calibration set and a seed, and writes a quantized
ONNX file. So it is audited over many draws, with the store, resume and ledger like any method. It
is started without a shell, in the folder where the audit runs.
"""

from __future__ import annotations

import hashlib
import shlex
import string
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

import numpy as np

from ptq_pipeline.adapters import arrays
from ptq_pipeline.core.errors import InputError
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

PLACES = ("model", "calibration", "output", "seed")
NEEDED = ("calibration", "output")
MOST_CHARACTERS = 300


@dataclass(frozen=True, kw_only=True)
class External(MethodConfig):
    """Options of a command.

    Attributes:
        command: The command with places: ``{model}`` is the float model (ONNX, input float32
            ``(n, C, H, W)``, prepared as in training), ``{calibration}`` an ``.npy`` file of
            float32 images of that shape, ``{output}`` where the quantized ONNX file goes, and
            ``{seed}`` a number.
        tool: Name and version of what quantizes, part of the trial's identity: a new version is
            a new trial.
        seconds: After which the command is ended.
        scripts: SHA-256 of the files that the command names, part of the identity too; it is found
            when left out.

    Raises:
        InputError: The command lacks a place or has one that is not known, ``tool`` is missing, or
            a script is not the one whose hash was given.
    """

    file_format: ClassVar[str | None] = "onnx"

    command: str = ""
    tool: str = ""
    seconds: float = 3600.0
    scripts: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            named = {name for _, name, _, _ in string.Formatter().parse(self.command) if name}
            words = shlex.split(self.command)
        except ValueError as error:
            raise InputError(f"method {self.name}: command cannot be read: {error}") from None
        if unknown := sorted(named - set(PLACES)):
            raise InputError(
                f"method {self.name}: command has the place '{{{unknown[0]}}}'; the places are "
                f"{', '.join(f'{{{place}}}' for place in PLACES)}"
            )
        if missing := [place for place in NEEDED if place not in named]:
            raise InputError(
                f"method {self.name}: command has no place '{{{missing[0]}}}'; write it like "
                "'python quantize.py {model} {calibration} {output}'"
            )
        if not self.tool:
            raise InputError(
                f"method {self.name}: name what quantizes, with its version ('tool: vendor 1.2'), "
                "so that another version is another trial"
            )
        files = [Path(word) for word in words if Path(word).is_file()]
        found = hashlib.sha256(b"".join(map(read_regular, files))).hexdigest() if files else ""
        if self.scripts not in ("", found):
            raise InputError(
                f"method {self.name}: the files that its command names have changed since "
                f"{self.scripts[:12]}...; leave 'scripts' out to audit them as they are"
            )
        object.__setattr__(self, "scripts", found)

    def arguments(self, **values: object) -> list[str]:
        """The command with its places filled, a word each."""
        return [word.format(**values) for word in shlex.split(self.command)]


def run(
    prepared: PreparedModel,
    batches: Batches,
    method: External,
    seed: int,
    weights: Mapping[str, WeightParameters] | None = None,
) -> QuantizationParameters:
    """Quantize with the command.

    Raises:
        InputError: It fails, takes too long, or writes no ONNX file.
    """
    with TemporaryDirectory() as folder:
        model, calibration, output = (
            Path(folder) / name for name in ("float.onnx", "calibration.npy", "quantized.onnx")
        )
        model.write_bytes(export_onnx(prepared, None))
        np.save(calibration, np.concatenate(list(arrays(batches))), allow_pickle=False)
        words = method.arguments(model=model, calibration=calibration, output=output, seed=seed)
        try:
            ended = subprocess.run(
                words, capture_output=True, text=True, check=False, timeout=method.seconds
            )
        except FileNotFoundError:
            raise InputError(f"method {method.name}: there is no program '{words[0]}'") from None
        except subprocess.TimeoutExpired:
            raise InputError(
                f"method {method.name}: '{words[0]}' took more than {method.seconds:g} s; raise "
                "'seconds', or see what it waits for"
            ) from None
        if ended.returncode:
            said = " ".join((ended.stderr or ended.stdout).split())[-MOST_CHARACTERS:]
            raise InputError(
                f"method {method.name}: '{words[0]}' ended with {ended.returncode}: {said}"
            )
        if not output.is_file():
            raise InputError(f"method {method.name}: '{words[0]}' wrote nothing to {{output}}")
        content = read_regular(output)
    require_one_file(content)
    return QuantizationParameters({}, file=ModelFile(method.tool, "onnx", {"model.onnx": content}))


METHOD = RegisteredMethod(
    name="external",
    paper="whatever the command runs",
    summary="a command that is given a calibration set and writes a quantized ONNX file",
    config=External,
    run=run,
    example={
        "command": "python quantize.py {model} {calibration} {output}",
        "tool": "name and version",
    },
)
