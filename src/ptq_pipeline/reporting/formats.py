"""Numbers and names as a report shows them, in any language.

Functions of numbers take fractions (a drop of ``0.088`` is 8.8 points) and give text. A missing
value (``None`` or NaN) is shown as a dash, never as 0.
"""

import math
import unicodedata

MISSING = "–"
_MINUS = "−"


def is_missing(value: object) -> bool:
    """Tell whether ``value`` is ``None`` or NaN."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def points(value: float | None, digits: int = 1) -> str:
    """Show a fraction as percentage points without a unit, for example ``8.8`` or ``−0.1``."""
    if value is None or is_missing(value):
        return MISSING
    # Adding 0.0 turns the "-0.0" that rounding leaves behind into "0.0".
    rounded = round(100 * float(value), digits) + 0.0
    return f"{rounded:,.{digits}f}".replace("-", _MINUS)


def number(value: float | None, digits: int = 3) -> str:
    """Show a plain number with ``digits`` significant digits, for example ``0.0312``."""
    if value is None or is_missing(value):
        return MISSING
    return f"{float(value):.{digits}g}".replace("e-0", "e-").replace("-", _MINUS)


def count(value: float | None) -> str:
    """Show a count with thousands separators, for example ``8,000``."""
    return MISSING if value is None or is_missing(value) else f"{int(value):,}"


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
