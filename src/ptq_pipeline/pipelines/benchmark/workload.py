"""Trials that share one pass over each calibration set among all methods and bits."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ptq_pipeline.trials.workload import Workload

if TYPE_CHECKING:
    from ptq_pipeline.ptq import MethodConfig, QuantizationParameters
    from ptq_pipeline.ptq.statistics import InputStatistics


@dataclass(eq=False)
class SharedSets(Workload):
    """A workload that remembers what the float model makes of each calibration set.

    Twenty methods and bit settings read the same ranges and histograms, which are those that each
    of them would collect alone (``quantization.statistics: direct``), so trials are the same. They
    stay in memory: up to a megabyte a set.
    """

    _known: "dict[str, Mapping[str, InputStatistics]]" = field(default_factory=dict, repr=False)

    def quantize(
        self, method: "MethodConfig", images: np.ndarray, seed: int
    ) -> "QuantizationParameters":
        """Quantize with uint8 calibration images; see `Workload.quantize`."""
        from ptq_pipeline.ptq import activations_from, combine

        images = np.asarray(images)
        if not method.reducible or not len(images):
            return super().quantize(method, images, seed)
        found = activations_from(self._statistics_of(images), method, self.prepared.operands)
        return combine(self.weights(method), found)

    def _statistics_of(self, images: np.ndarray) -> "Mapping[str, InputStatistics]":
        from ptq_pipeline.ptq import as_tensor_batches, collect_statistics

        key = hashlib.sha256(np.ascontiguousarray(images).data).hexdigest()
        if key not in self._known:
            batches = as_tensor_batches(self.model.preprocessing(images))
            self._known[key] = collect_statistics(self.prepared, batches, histograms=True)
        return self._known[key]
