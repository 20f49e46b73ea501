"""Load-only datasets of images; each gives an ``ImageSource`` that decodes on demand."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, NoReturn

from kedro.io import AbstractDataset, DatasetError

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.inputs import local_path
from ptq_pipeline.images.annotated import AnnotatedSource, Layout
from ptq_pipeline.images.decoding import Decoding
from ptq_pipeline.images.files import FileSource, NoImages, image_folder, leaves, manifest, resolved
from ptq_pipeline.images.idx import IdxSource
from ptq_pipeline.images.other_forms import voc_document, yolo_document
from ptq_pipeline.images.scenes import SceneSource
from ptq_pipeline.images.source import ImageSource
from ptq_pipeline.tasks.coco import Annotations, annotations_in, read_annotations


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
        parts: each with ``images``, optional ``labels``, optional ``splits`` (weights by which its
            rows are divided, counts or shares) and optional ``sha256`` (of the files of ``images``
            and ``labels``, as a mapping).
    """

    _shown = ("_parts",)

    def __init__(self, parts: Sequence[Mapping[str, Any]], metadata: Any = None) -> None:
        for part in parts:
            for name in {"images", "labels"} & set(part):
                local_path(part[name] or "", name)
        self._parts = parts
        self.metadata = metadata

    def load(self) -> ImageSource:
        """Read the files' headers and bytes."""
        return IdxSource(self._parts)


class SceneDataset(_ReadOnlyDataset):
    """Scenes with annotated objects, composed of the images of idx files, always the same.

    Args:
        parts: see `SceneSource`.
    """

    _shown = ("_parts",)

    def __init__(self, parts: Sequence[Mapping[str, Any]], metadata: Any = None) -> None:
        self._parts = parts
        self.metadata = metadata

    def load(self) -> ImageSource:
        """Compose the scenes."""
        return SceneSource(self._parts)


class _FileDataset(_ReadOnlyDataset):
    """What all sources of image files share; see `ImageWindowsDataset` for the settings."""

    _shown = ("_filepath", "_options")

    def __init__(
        self,
        filepath: str,
        shape: Sequence[int] | None = None,
        *,
        resize_size: int | None = None,
        interpolation: str = "bilinear",
        white: int | None = None,
        allow_outside: bool = False,
        metadata: Any = None,
    ) -> None:
        self._filepath = local_path(filepath)
        self._options = {
            **{"shape": shape, "resize_size": resize_size},
            **{"interpolation": interpolation, "white": white},
        }
        self._allow_outside = allow_outside
        self.metadata = metadata

    def _decoding(self) -> Decoding:
        shape = tuple(int(size) for size in self._options["shape"] or ())
        return Decoding(**self._options | {"shape": shape})


class _ListedDataset(_FileDataset):
    """What sources share whose table says more of the images: their splits, and its own hash."""

    def __init__(
        self,
        filepath: str,
        shape: Sequence[int],
        splits: Mapping[str, float] | None = None,
        sha256: str | None = None,
        **decoding: Any,
    ) -> None:
        super().__init__(filepath, shape, **decoding)
        self._splits = splits
        self._sha256 = sha256


class ImageFolderDataset(_ListedDataset):
    """``filepath/<class name>/**/<image>``, the layout of torchvision's ``ImageFolder``.

    Names that begin with a dot are not read; links may lead to what is below ``filepath``. The
    decoding (``resize_size``, ``interpolation``, ``white``) and ``allow_outside`` are set as in
    `ImageWindowsDataset`.

    Args:
        filepath: the root folder.
        shape: ``[C, H, W]`` to decode to.
        splits: weights by which images without a split are divided; ``{pool: 4, reference: 2,
            selection: 1, audit: 3}`` where nothing says which image is in which split.
        annotations: CSV or parquet file with a column ``path``, relative to ``filepath``, and
            any of ``split``, ``cluster``, ``sha256`` (of the image file) and segments.
        sha256: SHA-256 of the file of ``annotations``.
    """

    def __init__(
        self,
        filepath: str,
        shape: Sequence[int],
        splits: Mapping[str, float] | None = None,
        *,
        annotations: str | None = None,
        **more: Any,
    ) -> None:
        super().__init__(filepath, shape, splits, **more)
        self._annotations = None if annotations is None else local_path(annotations, "annotations")

    def load(self) -> FileSource:
        """List the images; none is decoded yet."""
        if self._sha256 is not None and self._annotations is None:
            raise InputError(
                "'sha256' of an image folder is that of its 'annotations'; it has none"
            )
        return image_folder(
            self._filepath,
            self._decoding(),
            self._splits,
            self._annotations,
            allow_outside=self._allow_outside,
            sha256=self._sha256,
        )


class ImageManifestDataset(_ListedDataset):
    """A CSV or parquet manifest: ``path``, ``label``, optional ``split``, ``cluster``, segments.

    A column ``sha256`` holds the SHA-256 of every image file; the setting ``sha256`` is that of the
    manifest itself. Only an empty cell is missing. Other settings as in `ImageFolderDataset`.
    """

    def load(self) -> FileSource:
        """Read the manifest; no image is decoded yet."""
        return manifest(
            self._filepath,
            self._decoding(),
            self._splits,
            allow_outside=self._allow_outside,
            sha256=self._sha256,
        )


class _AnnotatedDataset(_FileDataset):
    """What sources of images with annotated objects share.

    Args:
        filepath: COCO's annotations, or the root folder of the other forms.
        shape: ``[C, H, W]`` to decode to.
        splits: weights by which images without a split are divided, as in `ImageFolderDataset`.
        fit: how an image is brought to this shape, boxes following: ``letterbox`` or ``stretch``.
        object_size: groups ``size`` of objects: ``coco`` (small, medium and large by area in pixels
            of the file), ``quantiles`` (of the pool), or null.
    """

    def __init__(
        self,
        filepath: str,
        shape: Sequence[int],
        splits: Mapping[str, float] | None = None,
        *,
        fit: str = "letterbox",
        object_size: Literal["coco", "quantiles"] | None = "coco",
        **decoding: Any,
    ) -> None:
        super().__init__(filepath, shape, **decoding)
        if object_size not in ("coco", "quantiles", None):
            raise InputError(
                f"image source: object_size is '{object_size}'; choose coco, quantiles or null"
            )
        self._options["fit"] = fit
        self._splits = splits
        self._object_size = object_size

    def _source(self, annotations: Annotations, folder: Path) -> AnnotatedSource:
        layout = Layout(
            folder, self._decoding(), self._splits, self._object_size, self._allow_outside
        )
        return AnnotatedSource(annotations, layout, f"'{self._filepath}'")


class CocoDataset(_AnnotatedDataset):
    """COCO's annotations (the form of ``instances_val2017.json``) and a folder of images.

    Columns of images (``split``, ``cluster``, any other) and of objects make groups. Settings are
    those of `_AnnotatedDataset`, and:

    Args:
        images: folder that file names start from; that of ``filepath`` when left out.
    """

    def __init__(
        self, filepath: str, shape: Sequence[int], *, images: str | None = None, **more: Any
    ) -> None:
        super().__init__(filepath, shape, **more)
        self._images = None if images is None else local_path(images, "images")

    def load(self) -> AnnotatedSource:
        """Read the annotations; no image is decoded yet."""
        folder = self._filepath.parent if self._images is None else self._images
        return self._source(read_annotations(self._filepath), folder)


class VocDataset(_AnnotatedDataset):
    """A folder in Pascal VOC's form: ``Annotations/*.xml`` and ``JPEGImages``."""

    def load(self) -> AnnotatedSource:
        """Read the annotations; no image is decoded yet."""
        document = voc_document(self._filepath)
        return self._source(annotations_in(document, self._filepath), self._filepath)


class YoloDataset(_AnnotatedDataset):
    """A folder in YOLO's form: ``images``, ``labels`` and ``data.yaml``."""

    def load(self) -> AnnotatedSource:
        """Read the annotations; of images only their sizes."""
        document = yolo_document(self._filepath)
        return self._source(annotations_in(document, self._filepath), self._filepath)


class ImageWindowsDataset(_FileDataset):
    """Production windows: every folder below ``filepath`` is one, named by the folder.

    A window holds ``images-idx3-ubyte.gz`` (and ``labels-idx1-ubyte.gz``), or a ``manifest.csv``
    / ``manifest.parquet`` (``label`` may be absent), or class folders. A folder whose name begins
    with a dot is no window, so one can be filled under such a name and renamed when it is complete.

    Args:
        filepath: the folder of windows.
        shape: ``[C, H, W]`` to decode image files to; idx files have their own.
        resize_size: length of the shorter side before the central crop, as in torchvision's
            presets; by default the image just fits the crop. For production the same as for the
            audit, as all that follows.
        interpolation: nearest, bilinear, bicubic or lanczos.
        white: stored value that means white in files of more than 8 bits; without it those files
            are refused.
        allow_outside: whether paths and links may lead out of a window's folder.
    """

    def load(self) -> dict[str, Callable[[], ImageSource]]:
        """Return what reads each window, in the order of their names; none is opened yet."""
        return {folder.name: partial(self._window, folder) for folder in self._folders()}

    def _folders(self) -> list[Path]:
        root = self._filepath
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
        real = resolved(folder)
        if not self._allow_outside and not real.is_relative_to(self._filepath.resolve()):
            raise InputError(f"window {leaves(folder, real)}")
        images, labels = folder / "images-idx3-ubyte.gz", folder / "labels-idx1-ubyte.gz"
        lists = [folder / "manifest.csv", folder / "manifest.parquet"]
        found = [path for path in (images, *lists) if path.exists()]
        if len(found) > 1:
            names = " and ".join(path.name for path in found)
            raise InputError(f"window '{folder}' holds {names}; keep the one that describes it")
        if images.exists():
            return IdxSource([{"images": images, "labels": labels if labels.exists() else None}])
        outside = {"allow_outside": self._allow_outside}
        if found:
            return manifest(found[0], self._decoding(), None, labelled=False, **outside)
        try:
            return image_folder(folder, self._decoding(), None, **outside)
        except NoImages:
            raise InputError(
                f"'{folder}' holds no window: neither {images.name}, nor manifest.csv or .parquet, "
                "nor class folders with images"
            ) from None
