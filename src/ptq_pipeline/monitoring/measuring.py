"""One table per window: profiles of its images, the served model's answers, clip rates."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd

from ptq_pipeline.monitoring.clipping import CLIP_MEAN, CLIP_PREFIX
from ptq_pipeline.monitoring.distances import JENSEN_SHANNON, WASSERSTEIN
from ptq_pipeline.monitoring.served import SERVED, ServedModel
from ptq_pipeline.monitoring.thresholds import DriftColumn, DriftSettings
from ptq_pipeline.monitoring.windows import Window

if TYPE_CHECKING:
    from ptq_pipeline.models import FloatModel


class Version(Protocol):
    """A version of the registry, by its name and folder."""

    version: str
    folder: Any


@dataclass(frozen=True, eq=False)
class WindowProfiler:
    """Profiles windows as the audit's images were profiled.

    Attributes:
        served: the model that serves; None before the first promotion.
        model: the float model.
        projection: its features' projection, fitted on the audit's reference.
        definitions: segments with their thresholds.
        prepared: the float model as it was quantized; None without a served model.
    """

    served: ServedModel | None
    model: "FloatModel"
    projection: Mapping[str, Any]
    definitions: Mapping[str, Any]
    prepared: Any = None

    @classmethod
    def of(
        cls,
        champion: Version | None,
        model: "FloatModel",
        projection: Mapping[str, Any],
        definitions: Mapping[str, Any],
        shape: tuple[int, int, int],
    ) -> "WindowProfiler":
        """Return the profiler for what serves now."""
        if champion is None:
            return cls(None, model, projection, definitions)
        import torch

        from ptq_pipeline.ptq import prepare

        prepared = prepare(model.module, torch.from_numpy(model.example_input(shape)))
        served = ServedModel(champion.version, champion.folder)
        return cls(served, model, projection, definitions, prepared)

    def profile(self, window: Window) -> pd.DataFrame:
        """Return the profiles, label, segments, answers and clip rates of a window's images."""
        from ptq_pipeline.profiling import Projection, profile, with_segments

        projection = Projection.from_json(dict(self.projection))
        table = profile(window.images, self.model, projection)
        table = with_segments(table, table, self.definitions)
        for column in self.definitions["segments"]:
            if column not in table and column in window.table:
                table[column] = window.table[column].to_numpy()
        if window.labelled:
            table.insert(0, "label", window.table["label"].astype(np.int64).to_numpy())
        return self.with_served(table, window.images)

    def with_served(self, table: pd.DataFrame, images: np.ndarray) -> pd.DataFrame:
        """Return ``table`` with what only the served model can say of its images."""
        if self.served is None:
            return table
        return pd.concat([table, self.served.profile(images, self.model, self.prepared)], axis=1)


def with_served_columns(
    settings: DriftSettings, reference: pd.DataFrame, served: float, clip: float
) -> DriftSettings:
    """Add the served model's columns, so that one correction holds for all columns together.

    Args:
        settings: the profile columns.
        reference: the reference's table.
        served: material threshold of the answers.
        clip: material threshold of the clip rates.
    """
    added = [DriftColumn(SERVED, JENSEN_SHANNON, served)] if SERVED in reference else []
    added += [
        DriftColumn(str(name), WASSERSTEIN, clip)
        for name in reference
        if name == CLIP_MEAN or str(name).startswith(CLIP_PREFIX)
    ]
    return replace(settings, columns=(*settings.columns, *added))
