"""What is shown of a group, as a state that is drawn: by colour, by shape and by a word."""

from typing import NamedTuple

from ptq_pipeline.judgement.judging import Status


class State(NamedTuple):
    """How one status looks.

    ``mark`` is the style of a row or a card, ``glyph`` stands before its words, ``marker`` is
    matplotlib's, ``colour`` and ``tint`` (behind a number) replace it where there is room.
    """

    mark: str
    glyph: str
    marker: str
    colour: str
    tint: str


# Blue, ochre and orange-brown stay apart for all kinds of colour blindness.
GOOD, OPEN, BAD = "#0072b2", "#8a6a00", "#b84900"
STATES: dict[Status, State] = {
    "shown_bad": State("bad", "✕", "X", BAD, "#f3b98d"),
    "open": State("open", "?", "D", OPEN, "#f4e3a6"),
    "shown_good": State("good", "✓", "o", GOOD, "#d3e6f3"),
    "not_judged": State("hatched", "–", "|", "#566273", "#ffffff"),
}
