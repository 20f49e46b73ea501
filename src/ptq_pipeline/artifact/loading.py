"""The model that ships: its files, the runtime that serves them, and where they come from.

Whoever loads a quantized model from files does it here: the promotion that executes what it
exports, the watch over what serves, the re-audit of it, and what explains it.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from safetensors import SafetensorError
from safetensors.numpy import load_file

from ptq_pipeline.artifact import GRAPH, ONNX, PARAMETERS, RUNTIME_OPTIONS, served_names
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.names import TRIAL_FILE
from ptq_pipeline.models import FloatModel
from ptq_pipeline.models.loading import prepared_model
from ptq_pipeline.ptq import (
    ModelFile,
    QuantizationParameters,
    find_method,
)
from ptq_pipeline.runtimes import ExternalRuntime, Predictor, Runtime, build_runtime


@dataclass(frozen=True, eq=False)
class Artifact:
    """A quantized model as it ships: ours, with its integers, or the file of another tool.

    ``files`` holds the path of every file by its name, all in one folder; errors use ``name``.
    """

    files: Mapping[str, Path]
    name: str

    @classmethod
    def of_version(cls, version: str, folder: Path) -> "Artifact":
        """Return the artifact of a version of the registry."""
        files = {path.name: path for path in sorted(folder.glob("*")) if path.is_file()}
        return cls(files, f"version {version}")

    @classmethod
    @contextmanager
    def unpacked(cls, files: Mapping[str, bytes], name: str) -> Iterator["Artifact"]:
        """Yield the artifact of files that are in no folder yet, written to one for so long."""
        with TemporaryDirectory() as folder:
            paths = {each: Path(folder) / each for each in files}
            for each, path in paths.items():
                path.write_bytes(files[each])
            yield cls(paths, name)

    @cached_property
    def parameters(self) -> QuantizationParameters | None:
        """The integers and scales that it was exported with; None for a file of another tool.

        Raises:
            InputError: the file is damaged, or missing though its trial was one of our own.
        """
        path = self.files.get(PARAMETERS)
        if path is None and self._of_another_tool:
            return None
        try:
            return QuantizationParameters.from_arrays(load_file(path or Path(PARAMETERS)))
        except (SafetensorError, OSError, KeyError) as error:
            raise InputError(
                f"{self.name}: '{path or PARAMETERS}' is missing or damaged ({error}); `kedro ptq "
                "verify` says what else is, and `kedro ptq rollback` serves another"
            ) from error

    @property
    def _of_another_tool(self) -> bool:
        method = self.spec.get("method")
        if method is None:
            return True
        return find_method(method.get("name", "nearest")).config.file_format is not None

    @cached_property
    def spec(self) -> Mapping[str, Any]:
        """What its trial was, in plain values; empty where its files do not say."""
        try:
            return dict(json.loads(self.files[TRIAL_FILE].read_text(encoding="utf-8"))["spec"])
        except KeyError:
            return {}
        except (OSError, ValueError, TypeError) as error:
            raise InputError(
                f"{self.name}: '{self.files[TRIAL_FILE]}' is missing or damaged ({error}); "
                "`kedro ptq verify` says what else is"
            ) from error

    @cached_property
    def runtime(self) -> Runtime:
        """The runtime that it was judged in and serves in.

        Raises:
            InputError: its package or its device is not here, or a command runs it.
        """
        said = self.spec.get("runtime")
        if said is None:
            by_file = ((GRAPH, "openvino"), (ONNX, "onnxruntime"), (PARAMETERS, "simulated"))
            name = next((name for file, name in by_file if file in self.files), "openvino")
            return build_runtime(name)
        if said["name"] == ExternalRuntime.name:
            raise InputError(
                f"{self.name} was judged on a device, by a command, and only a configuration may "
                "name a command that is run; hold its answers against the float model's with "
                "`kedro ptq judge`"
            )
        options = {key: said[key] for key in RUNTIME_OPTIONS.get(said["name"], ()) if key in said}
        return build_runtime(said["name"], **options)

    def predictor(
        self, model: FloatModel, image_shape: tuple[int, ...], runtime: Runtime | None = None
    ) -> Predictor:
        """Return what answers, loaded from the files, in its own runtime unless another is given.

        The simulation of a model of our own is built on the float model.

        Raises:
            InputError: there is no file for that runtime, or it cannot be read.
        """
        runtime = runtime or self.runtime
        names = served_names(self.files, runtime.name)
        if not names:
            raise InputError(f"{self.name} has no model file; run the pipeline 'promotion' again")
        if runtime.name != "simulated":
            return runtime.load(self.files.get(names[0], Path(names[0])))
        if self.parameters is not None:
            return runtime.compile(prepared_model(model, image_shape), self.parameters)
        parts = {name: self.files[name].read_bytes() for name in names}
        format_ = "onnx" if ONNX in parts else "openvino"
        return runtime.execute(ModelFile("another tool", format_, parts))
