"""Documents: what one step writes as JSON and later steps, people and programs read.

Each kind is one frozen model. It is written through the model and read through it, so no reader
asks for a key that no writer wrote, and the published schema is generated from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    GetJsonSchemaHandler,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from ptq_pipeline.core.canonical import canonical_hash
from ptq_pipeline.core.errors import InputError, first_fault

READING = {"reading": True}


def _number(kind: str, **bounds: float) -> WithJsonSchema:
    """Bounds that programs may rely on.

    They are published and not checked: a difference of two fractions may miss them by rounding.
    """
    return WithJsonSchema({"type": kind, **bounds})


Count = Annotated[int, _number("integer", minimum=0)]
Share = Annotated[float, _number("number", minimum=0, maximum=1)]
Drop = Annotated[float, _number("number", minimum=-1, maximum=1)]
Deviation = Annotated[float, _number("number", minimum=0)]
Interval = tuple[float, float]


class Document(BaseModel):
    """A document, or a part of one.

    Attributes:
        added: Keys that documents of earlier releases may lack.
        rare: Of these, keys that are written only where they say something.
        called: What errors call it.
        way_out: What to do where it cannot be read.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    added: ClassVar[frozenset[str]] = frozenset()
    rare: ClassVar[frozenset[str]] = frozenset()
    called: ClassVar[str] = "the document"
    way_out: ClassVar[str] = "run the pipeline that wrote it again"

    @model_validator(mode="after")
    def _say_everything(self, info: ValidationInfo) -> Self:
        # A new document holds every key; one that was read holds those of its file, so that it is
        # the same, and has the same hash, when it is written again.
        if info.context is not READING:
            empty = {name for name in self.rare if getattr(self, name) is None}
            self.model_fields_set.update(type(self).model_fields.keys() - empty)
            self.model_fields_set.difference_update(empty)
        return self

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        schema = handler.resolve_ref_schema(handler(core_schema))
        schema["required"] = sorted(set(schema["properties"]) - cls.added)
        return schema

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> Self:
        """Read what :meth:`to_json` wrote, in this release or an earlier one.

        Raises:
            InputError: If it is incomplete, damaged, or of a release that writes more.
        """
        try:
            return cls.model_validate(content, context=READING)
        except ValidationError as error:
            raise InputError(
                f"{cls.called} is incomplete or damaged ({first_fault(error)}): {cls.way_out}"
            ) from error

    def to_json(self) -> dict[str, Any]:
        """JSON types; ``read`` reads it back."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)

    @property
    def hash(self) -> str:
        """SHA-256 of the canonical JSON form (sorted keys, no spaces)."""
        return canonical_hash(self.to_json())


class SealedDocument(Document):
    """A document that is written with its own hash, under the key ``seal``."""

    seal: ClassVar[str] = "hash"

    @property
    def hash(self) -> str:
        """Canonical hash of everything else that it says."""
        return canonical_hash(Document.to_json(self))

    def to_json(self) -> dict[str, Any]:
        """JSON types, with the hash."""
        return {**Document.to_json(self), self.seal: self.hash}
