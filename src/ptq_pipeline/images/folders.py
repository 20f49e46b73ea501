"""What stands in a folder of images: what is read, what is refused, and what is counted."""

import os
from collections import defaultdict
from pathlib import Path

from ptq_pipeline.core.errors import InputError

SUFFIXES = {
    *(".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png"),
    *(".pnm", ".ppm", ".tif", ".tiff", ".webp"),
}
# What file managers and archives leave behind, in lower case.
_DEBRIS = {"thumbs.db", "desktop.ini", "__macosx", "@eadir"}


class NoImages(InputError):
    """A folder holds no image in a class folder."""


def list_images(
    root: Path, allow_outside: bool = False
) -> tuple[list[Path], dict[str, list[Path]]]:
    """List the images of ``root/<class name>/**/<image>``, sorted by path.

    Names that begin with a dot are not read. Links are followed as long as they stay below
    ``root``.

    Args:
        root: the folder.
        allow_outside: whether links may lead out of it.

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
    """Images found so far, and what was left out.

    Args:
        root: true place of the folder.
        allow_outside: whether links may lead out of it.
    """

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
        """Return what stands in a folder, by name and true place, without hidden names."""
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
            first = self._names.setdefault(place, path)
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
