"""Load-only datasets of images; each gives an ``ImageSource`` that decodes on demand."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from kedro.io import AbstractDataset, DatasetError

from ptq_pipeline.errors import InputError
from ptq_pipeline.images.files import FileSource, image_folder, manifest
from ptq_pipeline.images.idx import IdxSource
from ptq_pipeline.images.source import ImageSource


class _ReadOnlyDataset(AbstractDataset):
    """A dataset that users own and the pipeline never writes."""

    def save(self, data: Any) -> NoReturn:
        """Refuse."""
        raise DatasetError(f"{type(self).__name__} is read only")

    _save = save

    def _describe(self) -> dict[str, Any]:
        return {key.lstrip("_"): value for key, value in vars(self).items() if key in self._shown}

    _shown: tuple[str, ...] = ()


class IdxImageDataset(_ReadOnlyDataset):
    """Pairs of idx files.

    Args:
        parts: each with ``images``, optional ``labels`` and optional ``splits`` (weights by which
            its rows are divided, counts or shares).
    """

    _shown = ("_parts",)

    def __init__(self, parts: Sequence[Mapping[str, Any]], metadata: Any = None) -> None:
        self._parts = parts
        self.metadata = metadata

    def load(self) -> ImageSource:
        """Read the files' headers and bytes."""
        return IdxSource(self._parts)


class ImageFolderDataset(_ReadOnlyDataset):
    """``filepath/<class name>/**/<image>``, the layout of torchvision's ``ImageFolder``.

    Args:
        filepath: the root folder.
        shape: ``[C, H, W]`` to decode to.
        splits: weights by which the images are divided.
    """

    _shown = ("_filepath", "_shape")

    def __init__(
        self,
        filepath: str,
        shape: Sequence[int],
        splits: Mapping[str, float] | None = None,
        metadata: Any = None,
    ) -> None:
        self._filepath = filepath
        self._shape = shape
        self._splits = splits
        self.metadata = metadata

    def load(self) -> FileSource:
        """List the images; none is decoded yet."""
        return image_folder(Path(self._filepath), _image_shape(self._shape), self._splits)


class ImageManifestDataset(ImageFolderDataset):
    """A CSV or parquet manifest: ``path``, ``label``, optional ``split``, ``cluster``, segments."""

    def load(self) -> FileSource:
        """Read the manifest; no image is decoded yet."""
        return manifest(Path(self._filepath), _image_shape(self._shape), self._splits)


class ImageWindowsDataset(_ReadOnlyDataset):
    """Production windows: every folder below ``filepath`` is one, named by the folder.

    A window holds ``images-idx3-ubyte.gz`` (and ``labels-idx1-ubyte.gz``), or a ``manifest.csv``
    / ``manifest.parquet``, or class folders.

    Args:
        filepath: the folder of windows.
        shape: ``[C, H, W]`` to decode image files to.
    """

    _shown = ("_filepath", "_shape")

    def __init__(self, filepath: str, shape: Sequence[int], metadata: Any = None) -> None:
        self._filepath = filepath
        self._shape = shape
        self.metadata = metadata

    def load(self) -> dict[str, ImageSource]:
        """Return the windows in the order of their names."""
        root = Path(self._filepath)
        folders = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
        return {folder.name: self._window(folder) for folder in folders}

    def _window(self, folder: Path) -> ImageSource:
        images, labels = folder / "images-idx3-ubyte.gz", folder / "labels-idx1-ubyte.gz"
        if images.is_file():
            return IdxSource([{"images": images, "labels": labels if labels.is_file() else None}])
        shape = _image_shape(self._shape)
        for name in ("manifest.csv", "manifest.parquet"):
            if (folder / name).is_file():
                return manifest(folder / name, shape, None)
        return image_folder(folder, shape, None)


def _image_shape(shape: Sequence[int]) -> tuple[int, int, int]:
    if len(shape) != 3 or min(shape) < 1:
        raise InputError(f"an image source needs 'shape: [channels, height, width]', got {shape}")
    channels, height, width = (int(size) for size in shape)
    return channels, height, width
