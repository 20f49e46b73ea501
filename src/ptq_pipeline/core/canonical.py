"""One byte string for one JSON value, so that a hash names its content."""

import hashlib
import json
from typing import Any


def canonical_json(value: Any) -> bytes:
    """Return ``value`` as UTF-8 JSON with sorted keys and no spaces.

    Numbers are written the way Python writes them: an integer and a float of the same value differ,
    and a float keeps every digit that it needs to be read back.

    Raises:
        ValueError: if the value holds NaN or an infinity, or is not JSON.
    """
    try:
        text = json.dumps(
            value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        )
    except (TypeError, ValueError) as error:
        raise ValueError(f"this value has no canonical JSON form: {error}") from error
    return text.encode()


def canonical_hash(value: Any) -> str:
    """Return the SHA-256 (hex) of :func:`canonical_json`."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def file_bytes(content: Any) -> bytes:
    """The bytes of a JSON file; equal contents give equal bytes."""
    text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode()
