"""Numbers and names as a reader sees them.

All functions take fractions (a drop of ``0.088`` is 8.8 points) and give text. A missing value
(``None`` or NaN) is shown as a dash, never as 0.
"""

import math
import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime

MISSING = "–"
_MINUS = "−"


def is_missing(value: object) -> bool:
    """Tell whether ``value`` is ``None`` or NaN."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def _decimal(value: float, digits: int) -> str:
    # Adding 0.0 turns the "-0.0" that rounding leaves behind into "0.0".
    rounded = round(float(value), digits) + 0.0
    return f"{rounded:,.{digits}f}".replace("-", _MINUS)


def points(value: float | None, digits: int = 1) -> str:
    """Show a fraction as percentage points without a unit, for example ``8.8`` or ``−0.1``."""
    return MISSING if is_missing(value) else _decimal(100 * float(value), digits)  # type: ignore[arg-type]


def percent(value: float | None, digits: int = 1, template: str = "{value}\u00a0%") -> str:
    """Show a fraction as a percentage, for example ``93.5 %`` (with a no-break space)."""
    return MISSING if is_missing(value) else template.format(value=points(value, digits))


def number(value: float | None, digits: int = 3) -> str:
    """Show a plain number with ``digits`` significant digits, for example ``0.0312``."""
    if is_missing(value):
        return MISSING
    text = f"{float(value):.{digits}g}"  # type: ignore[arg-type]
    return text.replace("e-0", "e-").replace("-", _MINUS)


def count(value: float | None) -> str:
    """Show a count with thousands separators, for example ``8,000``."""
    return MISSING if is_missing(value) else f"{int(value):,}"  # type: ignore[arg-type]


def interval(
    bounds: Sequence[float | None] | None, digits: int = 1, template: str = "{low} to {high}"
) -> str:
    """Show a pair of fractions as points, for example ``6.0 to 12.1``."""
    if bounds is None or any(is_missing(bound) for bound in bounds):
        return MISSING
    low, high = bounds
    return template.format(low=points(low, digits), high=points(high, digits))


def moment(time: str, template: str) -> str:
    """Show a time (ISO 8601) in UTC, for example ``2026-11-26 04:10 UTC``."""
    at = datetime.fromisoformat(time)
    at = at if at.tzinfo is None else at.astimezone(UTC)
    return template.format(year=at.year, month=at.month, day=at.day, hour=at.hour, minute=at.minute)


def clean_text(text: object) -> str:
    """Give one line without control characters, which neither XML nor a terminal can show."""
    printable = (
        " " if char.isspace() else "" if unicodedata.category(char) in ("Cc", "Cs", "Cf") else char
        for char in str(text)
    )
    return " ".join("".join(printable).split())


def shorten(text: object, length: int) -> str:
    """Give ``text`` on one line with at most ``length`` characters, cut in the middle.

    A wide character, such as a Japanese one, takes the room of two. The middle is cut because an
    intersection such as ``Sandal & tone=dark`` is told apart from its neighbours by both ends.

    Raises:
        ValueError: If ``length`` leaves no room for one character at both ends.
    """
    if length < 3:
        raise ValueError(f"length must be at least 3 to shorten a name, it is {length}")
    line = clean_text(text)
    if width(line) <= length:
        return line
    head, tail = length // 2, (length - 1) // 2
    end = _beginning(line[::-1], tail)[::-1]
    return f"{_beginning(line, head).rstrip()}…{end.lstrip()}"


def width(text: str) -> int:
    """Give the room that a line takes, in narrow characters."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def _beginning(text: str, room: int) -> str:
    return next(text[:n] for n in range(room, -1, -1) if width(text[:n]) <= room)


def plain_name(identifier: object) -> str:
    """Give an identifier such as ``gaussian_noise`` as words."""
    return clean_text(identifier).replace("_", " ")
