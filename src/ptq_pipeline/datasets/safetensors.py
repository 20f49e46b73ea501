"""Weights as safetensors: no pickle, nothing is executed on load."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kedro.io import AbstractDataset

from ptq_pipeline.files import write_file
from ptq_pipeline.inputs import local_path

if TYPE_CHECKING:
    from torch import Tensor


class SafetensorsDataset(AbstractDataset):
    """A state dict in one ``.safetensors`` file, written atomically."""

    def __init__(self, filepath: str, metadata: Any = None) -> None:
        self._filepath = local_path(filepath)
        self.metadata = metadata

    def load(self) -> "dict[str, Tensor]":
        """Return the tensors on the CPU."""
        from ptq_pipeline.models.float_model import read_weights

        return read_weights(self._filepath)

    def save(self, data: "Mapping[str, Tensor]") -> None:
        """Replace the file."""
        from safetensors.torch import save

        write_file(self._filepath, save(dict(data)))

    def _exists(self) -> bool:
        return self._filepath.is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}
