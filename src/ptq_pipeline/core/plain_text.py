"""Text that other people typed: refused, shown or put in a table without harm.

A line break in a name forges a line of a history, an escape sequence rewrites a terminal, and a
spreadsheet runs a cell that begins like a formula.
"""

import re
import unicodedata
from typing import Any

from ptq_pipeline.core.errors import InputError

# Controls, line and paragraph separators, halves of characters; marks that turn the direction.
_CATEGORIES = {"Cc", "Zl", "Zp", "Cs"}
_DIRECTIONS = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def plain(what: str, text: str) -> str:
    """Return ``text`` if it is one line of plain text; errors call it ``what``.

    Raises:
        InputError: It holds a line break or another control character.
    """
    for place, character in enumerate(text):
        if _is_hidden(character):
            raise InputError(
                f"{what} holds the control character U+{ord(character):04X} at position "
                f"{place + 1}: give one line of plain text"
            )
    return text


def visible(text: Any) -> str:
    r"""Return text for a terminal or a line of a file: control characters as escapes.

    Examples:
        >>> visible("a\nb")
        'a\\nb'
    """
    return "".join(
        character.encode("unicode_escape").decode() if _is_hidden(character) else character
        for character in str(text)
    )


def table_cell(value: Any) -> Any:
    """Return a value for a table that people open in a spreadsheet.

    Numbers stay; text that a spreadsheet would run gets an apostrophe in front, which shows it as
    text, and control characters become escapes.

    Examples:
        >>> table_cell("=1+1"), table_cell("-0.5"), table_cell(-0.5)
        ("'=1+1", '-0.5', -0.5)
    """
    if not isinstance(value, str):
        return value
    risky = value.lstrip(" ").startswith(_FORMULA) and not _NUMBER.fullmatch(value)
    return f"'{visible(value)}" if risky else visible(value)


def _is_hidden(character: str) -> bool:
    return unicodedata.category(character) in _CATEGORIES or character in _DIRECTIONS
