"""A device of one's own: models run by a command, on a phone, an accelerator, another host.

The command is given a quantized model and images and writes what the device answers. The float
model, from which every drop is counted, runs here in torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import numpy as np

from ptq_pipeline.core.errors import DeviceError
from ptq_pipeline.core.external_command import ExternalCommand
from ptq_pipeline.core.inputs import read_regular
from ptq_pipeline.ptq import ModelFile, PreparedModel, QuantizationParameters
from ptq_pipeline.ptq.export import export_onnx
from ptq_pipeline.runtimes.base import Predictor, Runtime
from ptq_pipeline.runtimes.simulated import SimulatedRuntime


@dataclass(frozen=True, eq=False)
class ExternalPredictor:
    """A model file that a command runs, in a folder of its own that ends with this object."""

    runtime: ExternalRuntime
    folder: TemporaryDirectory[str]
    name: str
    # A device is started once for as many images as fit: 256 MB.
    most_values: ClassVar[int] = 1 << 26

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """Return outputs float32 ``(n, ...)``, or classes int64 ``(n,)``.

        Raises:
            DeviceError: The command fails, or its answers cannot be read.
        """
        with TemporaryDirectory() as scratch:
            images, output = Path(scratch) / "images.npy", Path(scratch) / "answers.npy"
            np.save(images, np.ascontiguousarray(batch, np.float32), allow_pickle=False)
            model = Path(self.folder.name) / self.name
            places = {"model": model, "images": images}
            self.runtime.command.run(output, self.runtime.seconds, **places)
            return _read_answers(output, len(batch))


def _read_answers(path: Path, n: int) -> np.ndarray:
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DeviceError(f"runtime external: {{output}} is no .npy file: {error}") from None
    kind = getattr(found, "dtype", np.dtype(object)).kind
    if kind in "iu" and found.shape == (n,):
        return found.astype(np.int64)
    if kind == "f" and found.ndim > 1 and len(found) == n:
        return found.astype(np.float32)
    raise DeviceError(
        f"runtime external: {{output}} holds {getattr(found, 'dtype', type(found).__name__)} of "
        f"shape {getattr(found, 'shape', ())} for {n} images; write integers ({n},), a class "
        f"each, or floats ({n}, ...), what the network returns"
    )


class ExternalRuntime(Runtime):
    """Models run by a command with the places ``{model}``, ``{images}`` and ``{output}``.

    ``{model}`` is what the method wrote, for methods of this package an ONNX file in QDQ form;
    ``{images}`` an ``.npy`` file of float32 ``(n, C, H, W)``, prepared as in training; the command
    writes an ``.npy`` file to ``{output}``: classes ``(n,)`` as integers, or what the network
    returns, as floats.

    Args:
        command: the command; it is started without a shell, in the folder where the audit runs.
        tool: name and version of device and driver, part of the trial's identity.
        seconds: after which one start of the command is ended.
        scripts: SHA-256 of the files that the command names; found when left out.
        threads: of torch, which runs the float model.

    Raises:
        InputError: the command lacks a place, ``tool`` is missing, or a script has changed.
    """

    name = "external"

    def __init__(
        self,
        command: str,
        tool: str = "",
        seconds: float = 3600.0,
        *,
        scripts: str = "",
        threads: int | None = None,
    ) -> None:
        super().__init__(threads=threads)
        places = ("model", "images", "output")
        self.command = ExternalCommand(command, "runtime external", places, failure=DeviceError)
        self.tool, self.seconds = tool, seconds
        self.scripts = self.command.scripts(tool, scripts)
        self._float = SimulatedRuntime()

    @property
    def version(self) -> str:
        """Name and version of what executes."""
        return self.tool

    @property
    def options(self) -> dict[str, Any]:
        """Keyword arguments of `build_runtime` for an equal runtime in another process."""
        given = {"command": self.command.text, "tool": self.tool, "seconds": self.seconds}
        return {**super().options, **given, "scripts": self.scripts}

    def description(self) -> dict[str, Any]:
        """Return command, tool, hash of the scripts and what calibrates; no time limit."""
        return {key: value for key, value in super().description().items() if key != "seconds"}

    def execute(self, file: ModelFile) -> ExternalPredictor:
        """Return a predictor of the file that a tool wrote, of any format."""
        return self._predictor(file.parts)

    def load(self, path: Path) -> ExternalPredictor:
        """Return a predictor of a saved model.

        Raises:
            InputError: the file is missing.
        """
        return self._predictor({path.name: read_regular(path)})

    def _compiled(
        self, prepared: PreparedModel, parameters: QuantizationParameters | None
    ) -> Predictor:
        if parameters is None:
            return self._float.compile(prepared, None)
        return self._predictor({"model.onnx": export_onnx(prepared, parameters)})

    def _predictor(self, parts: Mapping[str, bytes]) -> ExternalPredictor:
        folder = TemporaryDirectory()
        for name, content in parts.items():
            (Path(folder.name) / name).write_bytes(content)
        return ExternalPredictor(self, folder, next(iter(parts)))
