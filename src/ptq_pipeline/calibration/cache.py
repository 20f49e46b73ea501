"""Results of earlier validations, kept beside the data and never an output of a stage."""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ptq_pipeline.core.canonical import canonical_hash
from ptq_pipeline.core.files import write_file

log = logging.getLogger(__name__)

SCHEMA_VERSION = 2
# About 2 kB each; the oldest go first.
MAX_ENTRIES = 4_000


class ValidationCache:
    """Validation results by key, in a JSON file or in memory.

    GX Data Docs of the latest validation go to ``docs_directory``, if there is one.
    """

    def __init__(self, path: Path | None = None, docs_directory: Path | None = None) -> None:
        self.path = path
        self.docs_directory = docs_directory
        self._entries: dict[str, list[dict[str, Any]]] = self._read()

    def _read(self) -> dict[str, list[dict[str, Any]]]:
        if self.path is None or not self.path.exists():
            return {}
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
            if content["schema_version"] == SCHEMA_VERSION:
                return self._checked(content["results"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            # Nothing is lost: every set is validated again.
            log.warning("validation cache '%s' is unreadable and ignored (%s)", self.path, error)
        return {}

    def _checked(self, results: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
        """Return the results that are what was written under their key."""
        whole = {
            key: entry["rows"]
            for key, entry in results.items()
            if entry["sha256"] == canonical_hash([key, entry["rows"]])
        }
        if len(whole) < len(results):
            log.warning(
                "validation cache '%s': %d of %d results were changed and are ignored",
                self.path,
                len(results) - len(whole),
                len(results),
            )
        return whole

    def get(self, key: str) -> list[dict[str, Any]] | None:
        """Return the rows of an earlier validation, or None."""
        return self._entries.get(key)

    def update(self, results: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        """Add results and write the file, atomically, with what others wrote meanwhile."""
        if not results:
            return
        self._entries.update(self._read())
        self._entries.update({key: [dict(row) for row in rows] for key, rows in results.items()})
        for key in list(self._entries)[:-MAX_ENTRIES]:
            del self._entries[key]
        if self.path is None:
            return
        entries = {
            key: {"rows": rows, "sha256": canonical_hash([key, rows])}
            for key, rows in self._entries.items()
        }
        content = {"schema_version": SCHEMA_VERSION, "results": entries}
        write_file(self.path, json.dumps(content, allow_nan=False).encode())
