"""The model that serves, as its files say."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ptq_pipeline.errors import InputError
from ptq_pipeline.monitoring.clipping import clip_rates

if TYPE_CHECKING:
    from ptq_pipeline.models import FloatModel
    from ptq_pipeline.ptq import PreparedModel, QuantizationParameters

GRAPH = "model.xml"
PARAMETERS = "quantization.safetensors"
SERVED = "served"


@dataclass(frozen=True)
class ServedModel:
    """A version of the registry.

    Attributes:
        version: its name.
        folder: where its files stand.
        threads: threads of one inference.
    """

    version: str
    folder: Path
    threads: int | None = None

    @cached_property
    def parameters(self) -> "QuantizationParameters":
        """The integers and steps that it was exported with.

        Raises:
            InputError: its file is missing or damaged.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        from ptq_pipeline.ptq import QuantizationParameters

        path = self.folder / PARAMETERS
        try:
            return QuantizationParameters.from_arrays(load_file(path))
        except (SafetensorError, OSError, KeyError) as error:
            raise InputError(
                f"version {self.version}: '{path}' is missing or damaged ({error}); "
                "`kedro ptq verify` says what else is, and `kedro ptq rollback` serves another"
            ) from error

    @cached_property
    def runtime(self) -> Any:
        """What executes it."""
        from ptq_pipeline.runtimes import OpenvinoRuntime

        return OpenvinoRuntime(threads=self.threads)

    def predict(self, images: np.ndarray, model: "FloatModel") -> np.ndarray:
        """Return its top-1 classes int32 ``(N,)`` for uint8 ``(N, C, H, W)``."""
        from ptq_pipeline.runtimes import predict_top1

        predictor = self.runtime.load(self.folder / GRAPH)
        return predict_top1(predictor, images, model.preprocessing)

    def profile(
        self, images: np.ndarray, model: "FloatModel", prepared: "PreparedModel"
    ) -> pd.DataFrame:
        """Return per image what it answers (``served``) and its clip rates."""
        table = clip_rates(prepared, self.parameters, images, model.preprocessing)
        table.insert(0, SERVED, self.predict(images, model).astype(np.int64))
        return table
