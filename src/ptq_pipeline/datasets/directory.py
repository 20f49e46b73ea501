"""Folders of files that are replaced as a whole."""

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path, PurePosixPath

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.files import write_file, write_folder
from ptq_pipeline.core.handed_on import UNCHANGED
from ptq_pipeline.datasets.local import LocalDataset
from ptq_pipeline.registry.evidence import INDEX_FILE


class DirectoryDataset(LocalDataset):
    """A folder as a mapping from relative name to content.

    Saving writes a sibling folder and puts it in the place of the old one, so a killed run leaves
    the old files or the new ones, never a mixture. Nothing but the given bytes is written.
    """

    leaves_unchanged = True

    def load(self) -> dict[str, Path]:
        """Return the path of every file by its name relative to the folder, sorted by name.

        Raises:
            InputError: if the folder does not exist.
        """
        if not self._filepath.is_dir():
            raise InputError(
                f"folder '{self._filepath}' does not exist; run the stage that makes it"
            )
        paths = [path for path in self._filepath.rglob("*") if path.is_file()]
        return dict(sorted((path.relative_to(self._filepath).as_posix(), path) for path in paths))

    def save(self, data: Mapping[str, bytes]) -> None:
        """Replace the folder by these files.

        Raises:
            InputError: if a name is absolute or leaves the folder.
        """
        if data is not UNCHANGED:
            write_folder(self._filepath, data)


class GrowingDirectory(DirectoryDataset):
    """A folder that files are added to; each one appears complete."""

    leaves_unchanged = False

    def save(self, data: Mapping[str, bytes]) -> None:
        """Write these files; others stay."""
        self._filepath.mkdir(parents=True, exist_ok=True)
        for name, content in data.items():
            if PurePosixPath(name).name != name:
                raise InputError(f"file name '{name}' leaves the folder '{self._filepath}'")
            write_file(self._filepath / name, content)


class CandidateDirectory(DirectoryDataset):
    """The exported candidate; loading checks every file against the index ``candidate.json``."""

    def load(self) -> dict[str, Path]:
        """Return the path of every file by name, after checking them.

        Raises:
            InputError: if the index is missing or damaged, or a file is missing, added or changed.
        """
        paths = super().load()
        try:
            expected = json.loads(paths[INDEX_FILE].read_text(encoding="utf-8"))["files"]
        except (KeyError, ValueError, TypeError) as error:
            raise InputError(
                f"candidate '{self._filepath}' has no readable index '{INDEX_FILE}'; "
                "export it again with the promotion pipeline"
            ) from error
        found = {
            name: sha256(path.read_bytes()).hexdigest()
            for name, path in paths.items()
            if name != INDEX_FILE
        }
        wrong = sorted(
            name for name in {*expected, *found} if expected.get(name) != found.get(name)
        )
        if wrong:
            raise InputError(
                f"candidate '{self._filepath}': file '{wrong[0]}' is missing, added or changed "
                f"since the export ({len(wrong)} such files); export it again with the promotion "
                "pipeline"
            )
        return paths
