"""The float model of a catalog entry."""

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from kedro.io import AbstractDataset, DatasetError

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.inputs import is_url, local_path, require_no_secret
from ptq_pipeline.core.objects import fetched
from ptq_pipeline.models import FloatModel, Preprocessing


class FloatModelDataset(AbstractDataset):
    """A trained classifier: an importable factory, a weights file and a preprocessing.

    An ONNX file is network and weights in one: it needs no factory.

    Naming a factory in a configuration means running its code. Restrict it with
    ``allowed_factories`` where configurations come from others.

    Args:
        weights: ``.safetensors`` file, a torch file that loads with ``weights_only``, or ``.onnx``;
            a path, or a URL like ``s3://bucket/model.safetensors``.
        preprocessing: ``mean`` and ``std``, one value per channel, on the scale [0, 1].
        classes: class names in the order of the logits.
        factory: dotted path of a callable that returns a ``torch.nn.Module``.
        arguments: keyword arguments of the factory.
        allowed_factories: what ``factory`` may be: exact dotted paths, and packages that end in a
            dot, of which public networks may be named; anything when left out.
        training_hashes: ``.npy`` with the first 8 bytes (uint64) of each training image's SHA-256.
        sha256: SHA-256 of the files, by the setting that names them: ``weights`` and
            ``training_hashes``.
        weights_key: which state dict of a checkpoint that holds several, such as
            ``state_dict_ema``.
        detector: of a network that finds objects: ``decoder`` (``kind`` and its settings),
            ``score`` (the operating threshold), ``iou`` (the overlap of a match) and ``alarms``
            (how many false alarms of a class count on one image), see docs/detection.md.
    """

    def __init__(
        self,
        *,
        weights: str,
        preprocessing: Mapping[str, Sequence[float]],
        classes: Sequence[str],
        factory: str = "onnx",
        arguments: Mapping[str, Any] | None = None,
        allowed_factories: Sequence[str] | None = None,
        training_hashes: str | None = None,
        sha256: Mapping[str, str] | None = None,
        weights_key: str | None = None,
        detector: Mapping[str, Any] | None = None,
        metadata: Any = None,
    ) -> None:
        self._factory = factory
        require_no_secret(weights, "weights")
        self._weights = weights if is_url(weights) else local_path(weights, "weights")
        self._sha256 = sha256
        self._weights_key = weights_key
        self._detector = detector
        self._preprocessing = preprocessing
        self._classes = [_class_name(name) for name in classes]
        self._arguments = arguments
        self._allowed_factories = allowed_factories
        self._training_hashes = None
        if training_hashes is not None:
            self._training_hashes = local_path(training_hashes, "training_hashes")
        if unknown := sorted(set(sha256 or {}) - {"weights", "training_hashes"}):
            raise InputError(
                f"float model: 'sha256' names '{unknown[0]}'; it can name weights and "
                "training_hashes"
            )
        self.metadata = metadata

    def load(self) -> FloatModel:
        """Build the network and load its weights."""
        from ptq_pipeline.models.loading import load_float_model

        weights = self._weights
        return load_float_model(
            self._factory,
            fetched(weights, "weights") if isinstance(weights, str) else weights,
            Preprocessing(
                tuple(float(value) for value in self._preprocessing["mean"]),
                tuple(float(value) for value in self._preprocessing["std"]),
            ),
            self._classes,
            self._arguments,
            self._allowed_factories,
            self._training_hashes,
            self._sha256,
            self._weights_key,
            self._detector,
        )

    def save(self, data: Any) -> NoReturn:
        """Refuse: the float model is the user's."""
        raise DatasetError("FloatModelDataset is read only")

    def _describe(self) -> dict[str, Any]:
        return {"factory": self._factory, "weights": str(self._weights)}


def _class_name(name: Any) -> str:
    """YAML reads ``no`` as a truth value and ``1`` as a number; only the number is still known."""
    if isinstance(name, bool) or not isinstance(name, str | int):
        raise InputError(
            f"float model: the class {name!r} is no text; put it in quotation marks in the catalog"
        )
    return str(name)
