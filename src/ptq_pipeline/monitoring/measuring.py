"""One table per window: profiles of its images, the served model's answers, clip rates."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ptq_pipeline.artifact.loading import Artifact
from ptq_pipeline.models import FloatModel
from ptq_pipeline.models.loading import prepared_model
from ptq_pipeline.monitoring.audited import Audited
from ptq_pipeline.monitoring.clipping import CLIP_MEAN, CLIP_PREFIX, clip_rates
from ptq_pipeline.monitoring.parameters import (
    DriftColumn,
    DriftParameters,
    MonitoringParameters,
)
from ptq_pipeline.ptq import PreparedModel
from ptq_pipeline.registry.store import Champion
from ptq_pipeline.runtimes import Predictor, predict_top1
from ptq_pipeline.statistics.distances import JENSEN_SHANNON, WASSERSTEIN

SERVED = "served"


@dataclass(frozen=True, eq=False)
class ServedModel:
    """What serves, loaded in its own runtime, beside the float model that it was made from."""

    artifact: Artifact
    model: FloatModel
    prepared: PreparedModel
    predictor: Predictor

    @classmethod
    def load(cls, artifact: Artifact, model: FloatModel, shape: tuple[int, ...]) -> "ServedModel":
        """Load an artifact for images of ``shape`` ``(C, H, W)``."""
        predictor = artifact.predictor(model, shape)
        return cls(artifact, model, prepared_model(model, shape), predictor)

    @classmethod
    def of_champion(cls, champion: Champion, audited: Audited) -> "ServedModel":
        """Load what serves for images like those of the audit."""
        artifact = Artifact.of_version(champion.version, champion.folder)
        return cls.load(artifact, audited.model, audited.data.image_shape)

    def float_predictor(self) -> Predictor:
        """Return the float model, executed by the runtime that serves."""
        return self.artifact.runtime.compile(self.prepared, None)

    def answers(self, images: np.ndarray) -> np.ndarray:
        """Return its top-1 classes int32 ``(N,)`` for uint8 ``(N, C, H, W)``."""
        return predict_top1(self.predictor, images, self.model.preprocessing)

    def profile(self, images: np.ndarray) -> pd.DataFrame:
        """Return per image what it answers (``served``), and its clip rates.

        The file of another tool holds no ranges to read, so it has no clip rates.
        """
        answers = pd.DataFrame({SERVED: self.answers(images).astype(np.int64)})
        parameters = self.artifact.parameters
        if parameters is None:
            return answers
        rates = clip_rates(self.prepared, parameters, images, self.model.preprocessing)
        return pd.concat([answers, rates], axis=1)


def with_served(
    table: pd.DataFrame, images: np.ndarray, served: ServedModel | None
) -> pd.DataFrame:
    """Return ``table`` with what only the model that serves, if one does, can say of its images."""
    return table if served is None else pd.concat([table, served.profile(images)], axis=1)


def with_served_columns(
    drift: DriftParameters, reference: pd.DataFrame, parameters: MonitoringParameters
) -> DriftParameters:
    """Add what the reference's table knows of the model that serves: its answers and clip rates.

    So one correction holds for all columns together.
    """
    answers = DriftColumn(method=JENSEN_SHANNON, threshold=parameters.served_threshold)
    rates = DriftColumn(method=WASSERSTEIN, threshold=parameters.clip_threshold)
    added = {SERVED: answers} if SERVED in reference else {}
    for name in map(str, reference):
        if name == CLIP_MEAN or name.startswith(CLIP_PREFIX):
            added[name] = rates
    return drift.model_copy(update={"columns": {**drift.columns, **added}})
