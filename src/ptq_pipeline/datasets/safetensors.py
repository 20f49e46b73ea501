"""Weights as safetensors: no pickle, nothing is executed on load."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ptq_pipeline.core.files import write_file
from ptq_pipeline.datasets.local import LocalDataset

if TYPE_CHECKING:
    from torch import Tensor


class SafetensorsDataset(LocalDataset):
    """A state dict in one ``.safetensors`` file, written atomically."""

    def load(self) -> "dict[str, Tensor]":
        """Return the tensors on the CPU."""
        from ptq_pipeline.models.loading import read_weights

        return read_weights(self._filepath)

    def save(self, data: "Mapping[str, Tensor]") -> None:
        """Replace the file."""
        from safetensors.torch import save

        write_file(self._filepath, save(dict(data)))
