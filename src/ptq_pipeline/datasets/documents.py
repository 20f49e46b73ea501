"""Documents in JSON files, written and read through their type."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from kedro.io import DatasetError
from kedro_datasets._typing import JSONPreview
from pydantic import ImportString, TypeAdapter, ValidationError

from ptq_pipeline.core.documents import Document
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.handed_on import UNCHANGED
from ptq_pipeline.datasets.whole import JSONDataset

FORM = {"indent": 2, "sort_keys": True, "ensure_ascii": False}


class DocumentDataset(JSONDataset):
    """One document in a JSON file; a killed run leaves the old file or the new.

    ``document`` is the dotted name of its class, a :class:`.Document`. An ``optional`` file may be
    missing, and loads as None. Other settings as in Kedro's ``JSONDataset``.
    """

    def __init__(
        self, *, filepath: str, document: str, optional: bool = False, **more: Any
    ) -> None:
        super().__init__(filepath=filepath, **{"save_args": FORM, **more})
        self._document, self._optional = document, optional

    def load(self) -> Document | None:
        """Read the document.

        Raises:
            InputError: it is damaged, or ``document`` names no document.
        """
        kind = self._kind()
        if self._optional and not super()._exists():
            return None
        try:
            content = super().load()
        except DatasetError as error:
            if not isinstance(error.__cause__, json.JSONDecodeError | UnicodeDecodeError):
                raise
            raise InputError(
                f"'{self._place}' is damaged ({error.__cause__}): {kind.way_out}"
            ) from error
        if not isinstance(content, Mapping):
            raise InputError(f"'{self._place}' holds no JSON object: {kind.way_out}")
        return kind.read(content)

    def save(self, data: Any) -> None:
        """Write the document, or leave the one that is there.

        Raises:
            DatasetError: it is of another class.
        """
        if data is UNCHANGED:
            return
        if not isinstance(data, self._kind()):
            raise DatasetError(f"'{self._place}' holds {self._document}, not {type(data).__name__}")
        super().save(data.to_json())

    def preview(self) -> JSONPreview:
        """Give what Kedro-Viz shows: the file as it is."""
        return JSONPreview(self._place.read_text(encoding="utf-8"))

    def _exists(self) -> bool:
        return self._optional or super()._exists()

    @property
    def _place(self) -> Path:
        return Path(str(self._describe()["filepath"]))

    def _kind(self) -> type[Document]:
        try:
            found = TypeAdapter(ImportString).validate_python(self._document)
        except ValidationError:
            found = None
        if not (isinstance(found, type) and issubclass(found, Document)):
            raise InputError(
                f"'document' of the catalog entry of '{self._place}' is '{self._document}', which "
                "is no document of this package; write its class as in "
                "'ptq_pipeline.judgement.verdict.Verdict'"
            )
        return cast(type[Document], found)
