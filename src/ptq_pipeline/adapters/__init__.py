"""Quantization tools that people deploy with already, as methods of the audit.

Each module is an entry point that brings a `RegisteredMethod`, whose result is the file that the
tool writes; it is executed as it is. The tools are optional packages.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import ClassVar

import numpy as np

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.ptq import Batches, MethodConfig, ModelFile, QuantizationParameters


@dataclass(frozen=True, kw_only=True)
class AdapterConfig(MethodConfig):
    """Base of configurations of tools, whose installed version is part of every trial's identity.

    Raises:
        InputError: the tool is not installed, or in another version than the one asked for.
    """

    package: ClassVar[str]
    file_format: ClassVar[str]

    tool_version: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            installed = version(self.package)
        except PackageNotFoundError:
            raise InputError(
                f"method {self.name}: package {self.package!r} is not installed; "
                f"pip install 'ptq-pipeline[{self.package}]'"
            ) from None
        if self.tool_version not in {"", installed}:
            raise InputError(
                f"method {self.name}: asked for {self.package} {self.tool_version}, but "
                f"{installed} is installed; install the former or leave tool_version out"
            )
        object.__setattr__(self, "tool_version", installed)

    def result(self, parts: Mapping[str, bytes]) -> QuantizationParameters:
        """Return what the tool wrote, by file name, the file to load first in front."""
        file = ModelFile(f"{self.package} {self.tool_version}", self.file_format, parts)
        return QuantizationParameters({}, file=file)


def arrays(batches: Batches) -> Iterator[np.ndarray]:
    """Yield calibration batches as float32 arrays ``(n, C, H, W)``.

    Raises:
        InputError: there are none.
    """
    seen = 0
    for batch in batches() if callable(batches) else batches:
        seen += len(batch)
        yield batch.numpy()
    if not seen:
        raise InputError("there are no calibration images; give at least one batch")
