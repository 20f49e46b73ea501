"""Image sources of single files: an ``ImageFolder`` and a CSV or parquet manifest."""

import logging
import os
import unicodedata
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.inputs import local_path
from ptq_pipeline.images.decoding import Decoding
from ptq_pipeline.images.tables import read_table

log = logging.getLogger(__name__)

# For a source that says nothing of splits.
DEFAULT_SPLITS = {"pool": 4, "reference": 2, "selection": 1, "audit": 3}
SUFFIXES = {
    *(".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png"),
    *(".pnm", ".ppm", ".tif", ".tiff", ".webp"),
}
# What file managers and archives leave behind, in lower case.
_DEBRIS = {"thumbs.db", "desktop.ini", "__macosx", "@eadir"}


class FileSource:
    """Images that are single files, decoded with Pillow.

    Args:
        table: columns ``path``, ``label``, optional ``sha256`` of the file, and whatever else the
            manifest holds.
        decoding: how a file becomes pixels.
        splits: weights for rows without a split; `DEFAULT_SPLITS` if neither they nor a column
            ``split`` are given.
        left_out: how many files are no part of the source, by reason.
    """

    def __init__(
        self,
        table: pd.DataFrame,
        decoding: Decoding,
        splits: Mapping[str, float] | None,
        left_out: Mapping[str, int] | None = None,
    ) -> None:
        if taken := sorted({"name", "part"} & set(table)):
            raise InputError(
                f"the image source has a column '{taken[0]}', and this package writes a column of "
                "that name itself; rename it"
            )
        self.shape = decoding.shape
        unsaid = {} if "split" in table else DEFAULT_SPLITS
        self.splits = [dict(unsaid if splits is None else splits)]
        self.left_out = dict(left_out or {})
        self._decoding = decoding
        self._paths = [Path(path) for path in table["path"]]
        declared = table.get("sha256", pd.Series(None, table.index, dtype=object))
        self._hashes = [None if pd.isna(value) else str(value) for value in declared]
        self.table = table.drop(columns=["path", "sha256"], errors="ignore").assign(
            name=[str(path) for path in self._paths], part=0
        )

    def read(self, position: int) -> np.ndarray:
        """Return image ``position`` as uint8 ``(C, H, W)``."""
        return self._decoding.read(self._paths[position], self._hashes[position])


def image_folder(
    root: Path,
    decoding: Decoding,
    splits: Mapping[str, float] | None,
    annotations: Path | None = None,
    *,
    allow_outside: bool = False,
    sha256: str | None = None,
) -> FileSource:
    """Read the layout of ``torchvision.datasets.ImageFolder``: ``root/<class name>/**/<image>``.

    What is no image is counted in one line of the log.

    Args:
        root: the folder.
        decoding: how a file becomes pixels.
        splits: weights for rows without a split.
        annotations: CSV or parquet file with a column ``path``, relative to ``root``, and any other
            columns of a manifest; images that it does not name have missing values.
        allow_outside: whether links may lead out of the folder.
        sha256: hash that the annotations must have.

    Raises:
        InputError: if the folder is missing or holds no image, a link leaves it, or the annotations
            do not fit it.
    """
    paths, left_out = list_images(root, allow_outside)
    for reason, entries in left_out.items():
        names = ", ".join(entry.relative_to(root).as_posix() for entry in entries[:3])
        log.warning("image folder '%s': left out as %s: %d, %s", root, reason, len(entries), names)
    table = pd.DataFrame(
        {"path": paths, "label": [path.relative_to(root).parts[0] for path in paths]}
    )
    if annotations is not None:
        table = _annotated(table, root, annotations, sha256)
    return FileSource(table, decoding, splits, {each: len(left_out[each]) for each in left_out})


def manifest(
    path: Path,
    decoding: Decoding,
    splits: Mapping[str, float] | None,
    labelled: bool = True,
    *,
    allow_outside: bool = False,
    sha256: str | None = None,
) -> FileSource:
    """Read a CSV or parquet manifest with ``path``, ``label`` and any further columns.

    Relative image paths are taken from the manifest's folder, and may leave it only with
    ``allow_outside``. Other arguments as of :func:`image_folder`.

    Args:
        path: the manifest.
        decoding: how files become pixels.
        splits: weights for rows without a split.
        labelled: whether the column ``label`` must be there; without it labels are missing.
        allow_outside: whether images may be elsewhere.
        sha256: hash that the manifest must have.

    Raises:
        InputError: if the manifest is missing, damaged or lacks a column, or a path leaves it or
            is in it twice.
    """
    needed = ("path", "label") if labelled else ("path",)
    table = read_table(path, "manifest", needed, sha256)
    if "label" not in table:
        table["label"] = None
    named = f"manifest '{path}'"
    paths = paths_below(path.parent, table["path"], named, allow_outside=allow_outside)
    return FileSource(table.assign(path=paths), decoding, splits)


def paths_below(
    folder: Path, entries: pd.Series, what: str, *, allow_outside: bool = False
) -> pd.Series:
    """Return the files that a table names, which are below its folder unless told otherwise.

    Raises:
        InputError: One is missing in the table, leads out of the folder, or is named twice;
            ``what`` says of which table.
    """
    root, full = folder.resolve(), []
    for row, entry in enumerate(entries, 1):
        if pd.isna(entry):
            raise InputError(f"{what}: row {row} has no path; fill it or remove the row")
        named = _as_stored(root / local_path(str(entry), f"{what}, path"))
        real = resolved(named)
        # Links from several names into a cache (DVC's is one) are copies, like equal files.
        inside = real.is_relative_to(root)
        full.append(real if inside else Path(os.path.normpath(named)))
        if not allow_outside and not inside:
            raise InputError(f"{what}: image path {leaves(named, real)}")
    paths = pd.Series(full, entries.index, dtype=object)
    if (twice := paths.duplicated()).any():
        raise InputError(
            f"{what} names '{paths[twice].iloc[0]}' twice ({int(twice.sum())} such "
            "row(s)), so it would count twice; keep one row per image"
        )
    return paths


def _as_stored(path: Path) -> Path:
    """Return the path under which a file is there, if another way of writing it is meant.

    Windows writes backslashes, and macOS stores accents apart from their letters.
    """
    if path.exists():
        return path
    for form in ("NFC", "NFD"):
        for text in (str(path), str(path).replace("\\", "/")):
            other = Path(unicodedata.normalize(form, text))  # type: ignore[arg-type]
            if other.exists():
                return other
    return path


def _annotated(images: pd.DataFrame, root: Path, path: Path, sha256: str | None) -> pd.DataFrame:
    notes = read_table(path, "annotations", ("path",), sha256)
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


class NoImages(InputError):
    """A folder holds no image in a class folder."""


def list_images(
    root: Path, allow_outside: bool = False
) -> tuple[list[Path], dict[str, list[Path]]]:
    """List the images of ``root/<class name>/**/<image>``, sorted by path.

    Names that begin with a dot are not read. Links are followed as long as they stay below
    ``root``, or anywhere with ``allow_outside``.

    Returns:
        The images, and what is left out by reason: ``hidden``, ``outside_classes`` (files beside
        the class folders), ``no_image`` (files of another kind) or ``empty_classes``.

    Raises:
        NoImages: there is no image.
        InputError: the folder is missing or cannot be read, a link leaves it or leads to what
            already belongs to it, or a class folder holds files but no image.
    """
    if not root.is_dir():
        raise InputError(f"image folder '{root}' does not exist; check the image source")
    walk = _Walk(root.resolve(), allow_outside)
    for entry, real in walk.entries(root, walk.root):
        if real.is_dir():
            walk.add_class(entry, real)
        else:
            walk.left_out["outside_classes"].append(entry)
    if not walk.images:
        raise NoImages(f"image folder '{root}' holds no image in a class folder")
    return sorted(walk.images), dict(walk.left_out)


def resolved(path: Path) -> Path:
    """Return where a path leads, with all links followed.

    Raises:
        InputError: links lead in a circle, or it is no path.
    """
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(f"path '{path}' cannot be followed ({error}); correct it") from error


def leaves(named: Path, real: Path) -> str:
    """The end of a sentence about a path that leads out of its folder."""
    return (
        f"'{named}' leaves its folder, to '{real}'; put the images below it, or set "
        "'allow_outside: true' of the image source"
    )


class _Walk:
    """Images found so far, and what was left out; ``root`` is the true place of the folder."""

    def __init__(self, root: Path, allow_outside: bool) -> None:
        self.root = root
        self.allow_outside = allow_outside
        self.images: list[Path] = []
        self.left_out: defaultdict[str, list[Path]] = defaultdict(list)
        # The name that led to every true place.
        self._names = {root: root}

    def add_class(self, folder: Path, real: Path) -> None:
        """Add the images of one class folder, of any depth."""
        waiting, before, others = [(folder, real)], len(self.images), []
        while waiting:
            for entry, place in self.entries(*waiting.pop()):
                if place.is_dir():
                    waiting.append((entry, place))
                elif entry.suffix.lower() in SUFFIXES:
                    self.images.append(entry)
                else:
                    others.append(entry)
        if len(self.images) > before:
            if others:
                self.left_out["no_image"] += others
        elif others:
            raise InputError(
                f"class folder '{folder}' holds {len(others)} file(s) and no image, first "
                f"'{others[0].name}'; images end in {', '.join(sorted(SUFFIXES))}: convert them, "
                "or take the folder away"
            )
        else:
            self.left_out["empty_classes"].append(folder)

    def entries(self, folder: Path, real: Path) -> list[tuple[Path, Path]]:
        """Return what is in a folder, by name and true place, without hidden names."""
        try:
            with os.scandir(real) as found:
                listed = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            raise InputError(f"folder '{folder}' cannot be read ({error}); allow it") from error
        entries = []
        for entry in listed:
            path = folder / entry.name
            if entry.name.startswith(".") or entry.name.lower() in _DEBRIS:
                self.left_out["hidden"].append(path)
                continue
            place = self._target(path) if entry.is_symlink() else real / entry.name
            # Files outside are a cache, whose links are copies.
            own = place if place.is_relative_to(self.root) or place.is_dir() else path
            first = self._names.setdefault(own, path)
            if first != path:
                raise InputError(
                    f"'{path}' and '{first}' are the same on disk, so images would count twice; "
                    "remove the link"
                )
            entries.append((path, place))
        return entries

    def _target(self, link: Path) -> Path:
        real = resolved(link)
        if not self.allow_outside and not real.is_relative_to(self.root):
            raise InputError(f"link {leaves(link, real)}")
        return real
