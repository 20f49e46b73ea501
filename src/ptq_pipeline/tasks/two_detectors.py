"""A float detector beside a quantized one on the same images: described, not judged."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ptq_pipeline.tasks.coco import Annotations, Detections
from ptq_pipeline.tasks.detection import Matches, Matching, match

THRESHOLDS = tuple(float(each) for each in np.arange(1, 20) / 20)


@dataclass(frozen=True)
class TwoDetectors:
    """What both find.

    Attributes:
        annotations: The images and what is on them.
        reference: What the float detector finds, at any score.
        quantized: What the quantized detector finds, at any score.
        matching: The operating threshold, and the overlap that a match needs.
    """

    annotations: Annotations
    reference: Detections
    quantized: Detections
    matching: Matching

    @cached_property
    def _reference(self) -> Matches:
        return match(self.annotations, self.reference, self.matching)

    def _quantized(self, score: float | None) -> Matches:
        matching = self.matching if score is None else replace(self.matching, score=score)
        return match(self.annotations, self.quantized, matching)

    def found(self) -> pd.DataFrame:
        """Return ``float_ok`` and ``ok`` of each object that counts, at the operating threshold."""
        counted = ~self.annotations.ignored
        found = {"float_ok": self._reference.found, "ok": self._quantized(None).found}
        return pd.DataFrame({name: each[counted] for name, each in found.items()})

    def by_class(self, score: float | None = None) -> pd.DataFrame:
        """Return one row a class, in their order.

        Args:
            score: Threshold of the quantized detector; the operating one when left out.

        Returns:
            ``n`` (objects), ``float_recall``, ``recall`` (fractions, NaN without objects),
            ``float_alarms``, ``alarms`` (false alarms an image).
        """
        return self._by_class(self._quantized(score))

    def _by_class(self, quantized: Matches) -> pd.DataFrame:
        reference, counted = self._reference, ~self.annotations.ignored
        label, classes = self.annotations.boxes.category, len(self.annotations.categories)
        n = np.bincount(label[counted], minlength=classes)

        def recall(matches: Matches) -> NDArray[np.float64]:
            found = np.bincount(label[counted & matches.found], minlength=classes)
            return np.where(n > 0, found / np.maximum(n, 1), np.nan)

        return pd.DataFrame(
            {
                "n": n,
                "float_recall": recall(reference),
                "recall": recall(quantized),
                "float_alarms": reference.alarms.mean(axis=0),
                "alarms": quantized.alarms.mean(axis=0),
            }
        )

    def thresholds(self) -> pd.DataFrame:
        """Return what the quantized detector would be at other thresholds.

        Returns:
            One row a threshold, from the lowest: ``score``, ``recall`` of all objects,
            ``worst_class`` (position of the class that loses most recall against the float detector
            at the operating threshold), ``worst_drop``, ``added_alarms`` (an image, all classes).
        """
        counted = ~self.annotations.ignored
        rows = []
        for score in sorted({*THRESHOLDS, self.matching.score}):
            quantized = self._quantized(score)
            each = self._by_class(quantized)
            drop = (each["float_recall"] - each["recall"]).fillna(-np.inf).to_numpy()
            rows.append(
                {
                    "score": score,
                    "recall": float(quantized.found[counted].mean()) if counted.any() else 0.0,
                    "worst_class": int(drop.argmax()),
                    "worst_drop": float(drop.max()),
                    "added_alarms": float((each["alarms"] - each["float_alarms"]).sum()),
                }
            )
        return pd.DataFrame(rows)
