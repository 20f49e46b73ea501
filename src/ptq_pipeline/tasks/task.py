"""What a network's output says: the answer to each unit that can be right or wrong.

The seam between trials and statistics: `read` looks at one batch after the other, `answers` makes
of all of them one integer a unit, which is right if it is the unit's label. Everything behind it
counts integers and knows of no image.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ptq_pipeline.core.errors import InputError


class Task(ABC):
    """How outputs become answers.

    Attributes:
        output_dimensions: Of the network's output, with that of the batch.
        finds_objects: Whether units are annotated objects and not images.
    """

    output_dimensions: ClassVar[int]
    finds_objects: ClassVar[bool]

    @property
    def facts(self) -> Mapping[str, Any]:
        """What decides about answers beside the network, as JSON types."""
        return {}

    @abstractmethod
    def check(self, output: NDArray[np.float32], classes: int) -> None:
        """Check an output of the float model.

        Raises:
            InputError: It has another shape than this task reads, or is not finite.
        """

    @abstractmethod
    def read(self, output: NDArray[np.float32], rows: NDArray[np.integer]) -> Any:
        """Read the output for one batch; ``rows`` are the images' numbers in errors.

        Raises:
            InputError: It says nothing, naming the first image.
        """

    def truth(self, images: pd.DataFrame) -> Any:
        """Return what `answers` must know of some images, rows of the samples table."""
        return None

    @abstractmethod
    def answers(self, read: Sequence[Any], truth: Any) -> NDArray[np.int32]:
        """Return an answer a unit, int32, in the order of `units` of these images.

        Args:
            read: What `read` gave, batch after batch.
            truth: What `truth` gave of the same images, in the same order.
        """

    @abstractmethod
    def units(self, images: pd.DataFrame) -> pd.DataFrame:
        """Return what can be right or wrong on images of the samples table, one row a unit."""

    @abstractmethod
    def profile(self, output: NDArray[np.float32]) -> pd.DataFrame:
        """Say of each image ``predicted`` (a class index, int64), ``confidence``, ``margin``."""


@dataclass(frozen=True)
class Classification(Task):
    """Units are images, and the answer is the class with the largest logit.

    Examples:
        >>> task = Classification()
        >>> task.read(np.array([[0.1, 0.9], [2.0, 1.0]], np.float32), np.arange(2)).tolist()
        [1, 0]
    """

    output_dimensions: ClassVar[int] = 2
    finds_objects: ClassVar[bool] = False

    def check(self, output: NDArray[np.float32], classes: int) -> None:
        """Check that there is a finite logit for each class."""
        if output.ndim != 2 or output.shape[1] != classes:
            raise InputError(
                f"the model returns an output of shape {tuple(output.shape)} but {classes} "
                "classes are declared; both must agree"
            )
        if not np.isfinite(output).all():
            raise InputError(
                "the float model returns NaN or infinite logits; check weights and preprocessing"
            )

    def read(self, output: NDArray[np.float32], rows: NDArray[np.integer]) -> NDArray[np.int64]:
        """Return the class with the largest logit of each image, the first one on ties.

        An output ``(n,)`` of integers holds the classes already.
        """
        if output.ndim == 1:
            return output.astype(np.int64)
        # argmax passes a NaN on, so looking at the largest logit is enough.
        best = output.argmax(1)
        bad = np.isnan(output[np.arange(len(output)), best])
        if bad.any():
            raise InputError(
                f"the model returns NaN logits for image {int(rows[bad.argmax()])}; check its "
                "weights and the preprocessing"
            )
        return best

    def answers(self, read: Sequence[Any], truth: Any) -> NDArray[np.int32]:
        """Return the classes as they were read."""
        return np.concatenate([*read, np.zeros(0)]).astype(np.int32)

    def units(self, images: pd.DataFrame) -> pd.DataFrame:
        """Return the images."""
        return images

    def profile(self, output: NDArray[np.float32]) -> pd.DataFrame:
        """Return the top-1 class, its softmax probability, and how far it leads."""
        shifted = np.exp(output.astype(np.float64) - output.max(1, keepdims=True))
        probabilities = shifted / shifted.sum(1, keepdims=True)
        top = np.sort(probabilities, axis=1)[:, ::-1]
        frame = pd.DataFrame(
            {"predicted": output.argmax(1).astype(np.int64), "confidence": top[:, 0]}
        )
        frame["margin"] = top[:, 0] - (top[:, 1] if top.shape[1] > 1 else 0.0)
        return frame
