"""The float model of a catalog entry."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from kedro.io import AbstractDataset, DatasetError

if TYPE_CHECKING:
    from ptq_pipeline.models.float_model import FloatModel


class FloatModelDataset(AbstractDataset):
    """A trained classifier: an importable factory, a weights file and a preprocessing.

    Naming a factory in a configuration means running its code. Restrict it with
    ``allowed_factories`` where configurations come from others.

    Args:
        factory: dotted path of a callable that returns a ``torch.nn.Module``.
        weights: ``.safetensors`` file, or a torch file that loads with ``weights_only``.
        preprocessing: ``mean`` and ``std``, one value per channel, on the scale [0, 1].
        classes: class names in the order of the logits.
        arguments: keyword arguments of the factory.
        allowed_factories: prefixes of dotted paths that may be imported; all when left out.
        training_hashes: ``.npy`` with the first 8 bytes (uint64) of each training image's SHA-256.
    """

    def __init__(
        self,
        factory: str,
        weights: str,
        preprocessing: Mapping[str, Sequence[float]],
        classes: Sequence[str],
        arguments: Mapping[str, Any] | None = None,
        allowed_factories: Sequence[str] | None = None,
        training_hashes: str | None = None,
        metadata: Any = None,
    ) -> None:
        self._factory = factory
        self._weights = weights
        self._preprocessing = preprocessing
        self._classes = classes
        self._arguments = arguments
        self._allowed_factories = allowed_factories
        self._training_hashes = training_hashes
        self.metadata = metadata

    def load(self) -> "FloatModel":
        """Build the network and load its weights."""
        from ptq_pipeline.models.float_model import load_float_model
        from ptq_pipeline.models.preprocessing import Preprocessing

        return load_float_model(
            self._factory,
            Path(self._weights),
            Preprocessing(
                tuple(float(value) for value in self._preprocessing["mean"]),
                tuple(float(value) for value in self._preprocessing["std"]),
            ),
            self._classes,
            self._arguments,
            self._allowed_factories,
            None if self._training_hashes is None else Path(self._training_hashes),
        )

    def save(self, data: Any) -> NoReturn:
        """Refuse: the float model is the user's."""
        raise DatasetError("FloatModelDataset is read only")

    def _describe(self) -> dict[str, Any]:
        return {"factory": self._factory, "weights": self._weights}
