"""Load-only datasets of images; each gives an ``ImageSource`` that decodes on demand."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from kedro.io import AbstractDataset, DatasetError

from ptq_pipeline.errors import InputError
from ptq_pipeline.images.decoding import Decoding
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
        splits: weights by which images without a split are divided; ``{pool: 4, reference: 2,
            selection: 1, audit: 3}`` where nothing says which image stands in which split.
        annotations: CSV or parquet file with a column ``path``, relative to ``filepath``, and
            any of ``split``, ``cluster`` and segments.
        resize_size: length of the shorter side before the central crop, as in torchvision's
            presets; by default the image just fits the crop.
        interpolation: nearest, bilinear, bicubic or lanczos.
        white: stored value that means white in files of more than 8 bits; without it those files
            are refused.
    """

    _shown = ("_filepath", "_decoding")

    def __init__(
        self,
        filepath: str,
        shape: Sequence[int],
        splits: Mapping[str, float] | None = None,
        annotations: str | None = None,
        resize_size: int | None = None,
        interpolation: str = "bilinear",
        white: int | None = None,
        metadata: Any = None,
    ) -> None:
        self._filepath = filepath
        self._decoding = {
            **{"shape": shape, "resize_size": resize_size},
            **{"interpolation": interpolation, "white": white},
        }
        self._splits = splits
        self._annotations = annotations
        self.metadata = metadata

    def load(self) -> FileSource:
        """List the images; none is decoded yet."""
        annotations = None if self._annotations is None else Path(self._annotations)
        decoding = _decoding(**self._decoding)
        return image_folder(Path(self._filepath), decoding, self._splits, annotations)


class ImageManifestDataset(ImageFolderDataset):
    """A CSV or parquet manifest: ``path``, ``label``, optional ``split``, ``cluster``, segments.

    Arguments as `ImageFolderDataset`, without ``annotations``.
    """

    def load(self) -> FileSource:
        """Read the manifest; no image is decoded yet."""
        if self._annotations is not None:
            raise InputError("a manifest holds its columns itself; leave 'annotations' out")
        return manifest(Path(self._filepath), _decoding(**self._decoding), self._splits)


class ImageWindowsDataset(_ReadOnlyDataset):
    """Production windows: every folder below ``filepath`` is one, named by the folder.

    A window holds ``images-idx3-ubyte.gz`` (and ``labels-idx1-ubyte.gz``), or a ``manifest.csv``
    / ``manifest.parquet`` (``label`` may be absent), or class folders. A folder whose name begins
    with a dot is no window, so one can be filled under such a name and renamed when it is complete.

    Args:
        filepath: the folder of windows.
        shape: ``[C, H, W]`` to decode image files to; idx files have their own.
        resize_size: as in `ImageFolderDataset`, and the same for production as for the audit.
        interpolation: likewise.
        white: likewise.
    """

    _shown = ("_filepath", "_decoding")

    def __init__(
        self,
        filepath: str,
        shape: Sequence[int] | None = None,
        resize_size: int | None = None,
        interpolation: str = "bilinear",
        white: int | None = None,
        metadata: Any = None,
    ) -> None:
        self._filepath = filepath
        self._decoding = {
            **{"shape": shape, "resize_size": resize_size},
            **{"interpolation": interpolation, "white": white},
        }
        self.metadata = metadata

    def load(self) -> dict[str, Callable[[], ImageSource]]:
        """Return what reads each window, in the order of their names; none is opened yet."""
        return {folder.name: partial(self._window, folder) for folder in self._folders()}

    def _folders(self) -> list[Path]:
        root = Path(self._filepath)
        if not root.is_dir():
            return []
        # A link that leads nowhere, or in a circle, was meant to be a window.
        return sorted(
            path
            for path in root.iterdir()
            if not path.name.startswith(".")
            and (path.is_dir() or (path.is_symlink() and not path.exists()))
        )

    def _window(self, folder: Path) -> ImageSource:
        images, labels = folder / "images-idx3-ubyte.gz", folder / "labels-idx1-ubyte.gz"
        if images.is_file():
            return IdxSource([{"images": images, "labels": labels if labels.is_file() else None}])
        decoding = _decoding(**self._decoding)
        for name in ("manifest.csv", "manifest.parquet"):
            if (folder / name).is_file():
                return manifest(folder / name, decoding, None, labelled=False)
        try:
            return image_folder(folder, decoding, None)
        except InputError:
            raise InputError(
                f"'{folder}' holds no window: neither {images.name}, nor manifest.csv or .parquet, "
                "nor class folders with images"
            ) from None


def _decoding(shape: Sequence[int] | None, **options: Any) -> Decoding:
    return Decoding(tuple(int(size) for size in shape or ()), **options)
