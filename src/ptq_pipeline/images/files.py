"""Image sources of single files: an ``ImageFolder`` and a CSV or parquet manifest."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from ptq_pipeline.errors import InputError
from ptq_pipeline.images.decoding import Decoding

SUFFIXES = {".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
# For a source that says nothing of splits.
DEFAULT_SPLITS = {"pool": 4, "reference": 2, "selection": 1, "audit": 3}


class FileSource:
    """Images that stand in single files, decoded with Pillow.

    Args:
        table: columns ``path``, ``label`` and whatever else the manifest holds.
        decoding: how a file becomes pixels.
        splits: weights for rows without a split; `DEFAULT_SPLITS` if neither they nor a column
            ``split`` are given.
    """

    def __init__(
        self, table: pd.DataFrame, decoding: Decoding, splits: Mapping[str, float] | None
    ) -> None:
        if taken := sorted({"name", "part"} & set(table)):
            raise InputError(
                f"the image source has a column '{taken[0]}', and this package writes a column of "
                "that name itself; rename it"
            )
        self.shape = decoding.shape
        unsaid = {} if "split" in table else DEFAULT_SPLITS
        self.splits = [dict(unsaid if splits is None else splits)]
        self._decoding = decoding
        self._paths = [Path(path) for path in table["path"]]
        self.table = table.drop(columns="path").assign(
            name=[str(path) for path in self._paths], part=0
        )

    def read(self, position: int) -> np.ndarray:
        """Return image ``position`` as uint8 ``(C, H, W)``."""
        return self._decoding.read(self._paths[position])


def image_folder(
    root: Path,
    decoding: Decoding,
    splits: Mapping[str, float] | None,
    annotations: Path | None = None,
) -> FileSource:
    """Read the layout of ``torchvision.datasets.ImageFolder``: ``root/<class name>/**/<image>``.

    Args:
        root: the folder.
        decoding: how a file becomes pixels.
        splits: weights for rows without a split.
        annotations: CSV or parquet file with a column ``path``, relative to ``root``, and any other
            columns of a manifest; images that it does not name have missing values.

    Raises:
        InputError: if the folder is missing or holds no image, or the annotations do not fit it.
    """
    if not root.is_dir():
        raise InputError(f"image folder '{root}' does not exist; check the image source")
    rows = [
        {"path": path, "label": path.relative_to(root).parts[0]}
        for path in sorted(root.rglob("*"))
        if path.suffix.lower() in SUFFIXES and path.parent != root
    ]
    if not rows:
        raise InputError(f"image folder '{root}' holds no image in a class folder")
    table = pd.DataFrame(rows)
    if annotations is not None:
        table = _annotated(table, root, annotations)
    return FileSource(table, decoding, splits)


def manifest(
    path: Path, decoding: Decoding, splits: Mapping[str, float] | None, labelled: bool = True
) -> FileSource:
    """Read a CSV or parquet manifest with ``path``, ``label`` and any further columns.

    Relative image paths are taken from the manifest's folder and may not leave it.

    Args:
        path: the manifest.
        decoding: how files become pixels.
        splits: weights for rows without a split.
        labelled: whether the column ``label`` must be there; without it labels are missing.

    Raises:
        InputError: if the manifest is missing, damaged or lacks a column, or a path leaves it.
    """
    table = _read_table(path, "manifest", ("path", "label") if labelled else ("path",))
    if "label" not in table:
        table["label"] = None
    root = path.parent.resolve()
    full = [(root / str(entry)).resolve() for entry in table["path"]]
    for entry in full:
        if not entry.is_relative_to(root):
            raise InputError(
                f"manifest '{path}': image path '{entry}' leaves the manifest's folder; "
                "put the images below it"
            )
    return FileSource(table.assign(path=full), decoding, splits)


def _annotated(images: pd.DataFrame, root: Path, path: Path) -> pd.DataFrame:
    notes = _read_table(path, "annotations", ("path",))
    keys = notes["path"].map(lambda entry: Path(str(entry)).as_posix())
    if "label" in notes:
        raise InputError(
            f"annotations '{path}' have a column 'label', but the class folders are the labels; "
            "leave it out, or use ImageManifestDataset"
        )
    own = images["path"].map(lambda entry: entry.relative_to(root).as_posix())
    for wrong, why in (
        (keys[keys.duplicated()], "twice"),
        (keys[~keys.isin(own)], f"which is no image of '{root}'"),
    ):
        if len(wrong):
            raise InputError(
                f"annotations '{path}' name '{wrong.iloc[0]}' {why} ({len(wrong)} such row(s)); "
                "paths are relative to the image folder"
            )
    joined = notes.drop(columns="path").set_index(keys).reindex(own).reset_index(drop=True)
    return images.join(joined)


def _read_table(path: Path, what: str, needed: tuple[str, ...]) -> pd.DataFrame:
    if not path.is_file():
        raise InputError(f"{what} '{path}' does not exist; check the image source")
    try:
        table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    except Exception as error:
        raise InputError(f"{what} '{path}' cannot be read: {error}") from error
    for column in needed:
        if column not in table:
            raise InputError(
                f"{what} '{path}' has no column '{column}'; it has {list(table.columns)}"
            )
    return table
