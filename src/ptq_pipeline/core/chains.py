"""Hash chains: each link carries the hash of the one before, so an edit, a gap or a swap is seen.

Links that are cut off the end leave a chain that holds. So its head, how many links there are and
the hash of the last one, is kept in another file, and version control keeps that one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TypeVar

from ptq_pipeline.core.documents import READING, SealedDocument

Head = tuple[int, str | None]


class ChainError(ValueError):
    """A link does not match its own hash, or does not follow the one before; says which."""


class Link(SealedDocument):
    """One document of a chain; ``previous`` is the hash of the link before, None for the first."""

    previous: str | None


L = TypeVar("L", bound=Link)


def read_link(form: type[L], content: str, before: Sequence[L]) -> L:
    """Read the link that follows others.

    Raises:
        ChainError: It was edited, or does not belong there.
        ValueError: It is no such link.
    """
    said = json.loads(content)
    seal = said.pop(form.seal, None) if isinstance(said, dict) else None
    link = form.model_validate(said, context=READING)
    # Not only the hash: a number that became text is read as the number.
    if link.to_json() != {**said, form.seal: seal}:
        raise ChainError("does not match its hash: it was edited after it was written")
    if link.previous != head_of(before)[1]:
        raise ChainError("does not follow the record before it: one of the two was edited")
    return link


def head_of(links: Sequence[Link]) -> Head:
    """Number of links and hash of the last one, None where there is none."""
    return len(links), links[-1].hash if links else None
