"""The words of the report in one language: its texts, and what the verdict says."""

import math
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from importlib import resources
from typing import Any, NamedTuple

from ptq_pipeline.core.documents import Interval
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.group_ids import CellDocument
from ptq_pipeline.core.names import ALARMS, CLEAN
from ptq_pipeline.judgement.sentences import ENGLISH, Sentence, Wording
from ptq_pipeline.judgement.verdict import Verdict
from ptq_pipeline.reporting.formats import (
    MISSING,
    clean_text,
    count,
    is_missing,
    number,
    plain_name,
    points,
    shorten,
)

_PLACE = re.compile(r"(\{[^{}]*\})")
_FOLDER = resources.files("ptq_pipeline.reporting").joinpath("templates")
NAME_LENGTH = 40
# Inside a sentence, where no tooltip gives the rest.
SENTENCE_NAME = 80
# A drop below which a frequency is said of 1,000.
FEW = 0.05


class Reading(NamedTuple):
    """A value that is of another kind than its column."""

    kind: str
    value: float | None


class Texts:
    """Texts of one language by dotted key, with ``{placeholders}`` filled at the call.

    A key that holds ``one`` and ``many`` is chosen by the value ``n``. A missing key is a
    ``KeyError``: a report with holes must not be written.

    Example:
        >>> texts = Texts({"draws": {"one": "{n} draw", "many": "{n} draws"}})
        >>> texts("draws", n=1)
        '1 draw'
    """

    def __init__(
        self, messages: Mapping[str, object], of_units: bool = False, alarms: int | None = None
    ) -> None:
        self._messages = dict(_flatten(messages))
        self._of_units, self._alarms = of_units, alarms

    def __call__(self, key: str, **values: object) -> str:
        """Give the text of ``key`` with ``values`` filled in, without any escaping."""
        if key not in self._messages:
            singular = str(values.get("n")) == "1"
            key = f"{key}.{'one' if singular else 'many'}"
        return self._messages[key].format(**values)

    def template(self, key: str) -> str:
        """Give the text of ``key`` with its placeholders as they are."""
        return self._messages[key]

    def keys(self) -> frozenset[str]:
        """Give all dotted keys."""
        return frozenset(self._messages)

    def __contains__(self, key: str) -> bool:
        """Tell whether ``key`` has a text of its own."""
        return key in self._messages

    def percent(self, value: float | None, digits: int = 1) -> str:
        """Show a fraction as a percentage, for example ``93.5 %`` (with a no-break space)."""
        return MISSING if is_missing(value) else self("format.percent", value=points(value, digits))

    def interval(self, bounds: Interval | None, shown: Callable[[float], str] = points) -> str:
        """Show a pair of fractions as points, for example ``6.0 to 12.1``."""
        if bounds is None or any(map(is_missing, bounds)):
            return MISSING
        return self("format.interval", low=shown(bounds[0]), high=shown(bounds[1]))

    def moment(self, time: str) -> str:
        """Show a time (ISO 8601) in UTC, for example ``2026-11-26 04:10 UTC``."""
        at = datetime.fromisoformat(time)
        at = at if at.tzinfo is None else at.astimezone(UTC)
        parts = {part: getattr(at, part) for part in ("year", "month", "day", "hour", "minute")}
        return self("format.moment", **parts)

    def shown(self, value: Any, kind: str, digits: int = 2) -> str:
        """Show a value of a table by its kind, see :class:`.Column`."""
        if value is None:
            return MISSING
        if isinstance(value, Reading):
            return self.shown(value.value, value.kind, digits)
        forms: dict[str, Callable[[Any], str]] = {
            "points": lambda fraction: points(fraction, digits),
            "percent": lambda fraction: self.percent(fraction, digits),
            "interval": lambda ends: self.interval(ends, lambda end: points(end, digits)),
            "count_interval": lambda ends: self.interval(ends, count),
            "count": count,
            "number": number,
        }
        return forms.get(kind, clean_text)(value)

    def group(self, level: str, group: str, length: int = NAME_LENGTH) -> str:
        """Name a group with its kind, for example ``class Sandal`` or ``all images``."""
        key = f"group.{level}"
        return self(key if key in self else "group.other", group=shorten(group, length))

    def shift(self, shift: str) -> str:
        """Name a shift as part of a sentence, for example ``under gaussian noise``."""
        if shift == CLEAN:
            return self("shift.clean")
        return self("shift.other", shift=self.identifier(shift))

    def shift_name(self, shift: str) -> str:
        """Name a shift as a heading, for example ``gaussian noise``."""
        return self("shift.clean_name") if shift == CLEAN else self.identifier(shift)

    def identifier(self, identifier: object) -> str:
        """Give an identifier of this package in the reader's words, another one as plain words."""
        key = f"names.{identifier}"
        return self(key) if key in self else plain_name(identifier)

    def drop(self, drop: float | None) -> str:
        """Say a drop: ``loses 8.8 points``, ``gains 0.1 points``, ``shows no loss``."""
        if drop is None or is_missing(drop):
            return self("drop.unknown")
        shown = points(abs(drop))
        if shown == points(0.0):
            return self("drop.none")
        return self("drop.loses" if drop > 0 else "drop.gains", points=shown)

    def frequency(self, drop: float, limit: float, cell: CellDocument) -> str:
        """Say the drop of a cell as a natural frequency, with its limit.

        Of 100 images, or of 1,000 where that would hide digits.

        Example:
            >>> cell = CellDocument(level="class", group="Shirt", shift="clean")
            >>> load_texts("en").frequency(0.1288, 0.06, cell)
            'of 100 images of class Shirt on clean images, 13 more get a wrong answer (limit: 6)'
        """
        fine = abs(drop) < FEW or not math.isclose(100 * limit, round(100 * limit))
        base = 1000 if fine else 100
        key, each = "frequency", 1
        if self._alarms is not None and cell.group.startswith(f"{ALARMS}="):
            key, each = "frequency_of_alarms", self._alarms
        more = round(base * drop * each)
        where = self(
            f"{key}.where_all" if cell.level == "average" else f"{key}.where",
            base=count(base),
            group=self.group(cell.level, cell.group),
            shift=self.shift(cell.shift),
        )
        return self(
            f"{key}.{'more' if more > 0 else 'fewer' if more < 0 else 'same'}",
            where=where,
            more=count(abs(more)),
            limit=count(round(base * limit * each)),
        )

    def at_floor(self, shift: str, accuracy: float) -> str:
        """Say how often the float model is right where it has nothing to lose."""
        right = self("format.percent", value=f"{100 * accuracy:z.1f}")
        return self("unjudged.at_floor", accuracy=right, shift=self.shift(shift))

    def said(self, text: str, sentence: Sentence | None) -> str:
        """Say a sentence of the statistics in the reader's language.

        Args:
            text: The sentence in English; it stays where an older file gives no more, and where a
                newer one says what this release does not know.
            sentence: The same by key.
        """
        if sentence is None or sentence.key not in ENGLISH:
            return text
        key = f"sentence.{sentence.key}"
        if key in self:
            return self._wording.vformat(self.template(key), (), sentence.values)
        readable = Sentence(key=sentence.key, values=_readable(sentence.values))
        return readable.of_units if self._of_units else readable.text

    def all_said(self, lines: Sequence[str], sentences: Sequence[Sentence]) -> list[str]:
        """Say several sentences; in English where not each has its key, as in older files."""
        known = sentences if len(sentences) == len(lines) else [None] * len(lines)
        return [self.said(text, each) for text, each in zip(lines, known, strict=True)]

    def statements(self, verdict: Verdict) -> list[str]:
        """Say what recipe, candidate, tolerance and ledger state."""
        claims = [self.said(verdict.recipe.statement, verdict.recipe.sentence)]
        if verdict.candidate.worst_groups:
            sentence = verdict.candidate.worst_groups[0].sentence
            claims.append(self.said(sentence.text, sentence))
        if verdict.tolerance is not None:
            claims.append(self.said(verdict.tolerance.statement, verdict.tolerance.sentence))
        if (ledger := verdict.ledger) is not None:
            several = [self.said(ledger.statement, each) for each in ledger.sentences]
            claims.append(self("format.joiner").join(several) if several else ledger.statement)
        return [claim for claim in claims if claim]

    def not_judged(self, verdict: Verdict) -> str:
        """Say which classes and segments are not judged; an empty text where all are."""
        text = verdict.not_judged
        return self.said(text, verdict.not_judged_sentence) if text else ""

    def headline(self, verdict: Verdict) -> str:
        """Say the headline without the result in front, and how sure its mean over draws is."""
        sentence = self.said(verdict.headline, verdict.headline_sentence)
        sentence = sentence.removeprefix(f"{verdict.result}: ")
        worst = verdict.worst
        if worst is None or worst.mean_interval is None or verdict.recipe.result == "NONE":
            return sentence
        interval = self(
            "sure.mean_interval",
            interval=self.interval(worst.mean_interval),
            confidence=self.percent(1 - verdict.policy.alpha, 0),
            n=count(len(verdict.candidate.cells)),
        )
        return self("format.joiner").join([sentence, interval])

    @cached_property
    def _wording(self) -> Wording:
        def share(value: float, form: str) -> str:
            text = format(100 * value, f"z.{form}" if form else "zg")
            return self("format.percent", value=text)

        def group(value: Mapping[str, str], _: str = "") -> str:
            return self.group(value["level"], value["group"], SENTENCE_NAME)

        def cell(value: Mapping[str, str], _: str) -> str:
            return self("group.under", group=group(value), shift=self.shift_name(value["shift"]))

        def unjudged(value: Sequence[Mapping[str, Any]], _: str) -> str:
            return self("unjudged.joiner").join(
                self(
                    "unjudged.group",
                    group=group(each),
                    why=self._why_unjudged(each),
                    allowed=self("unjudged.allowed") if each["allowed"] else "",
                )
                for each in value
            )

        return Wording(
            {
                "": lambda value, _: str(value),
                "name": lambda value, _: self.identifier(value),
                "+": lambda value, _: count(value),
                "count": lambda value, _: count(value),
                "points": lambda value, digits: points(value, int(digits or 1)),
                "percent": share,
                "floor_percent": lambda value, _: share(math.floor(100 * value) / 100, "0f"),
                "ordinal": lambda value, _: count(value),
                "loss": lambda value, _: self.drop(value),
                "at_most": lambda value, _: count(value),
                "group": group,
                "cell": cell,
                "unjudged": unjudged,
            }
        )

    def _why_unjudged(self, group: Mapping[str, Any]) -> str:
        if group["accuracy"] is not None:
            return self.at_floor(group["shift"], group["accuracy"])
        return self("unjudged.images", n=count(group["n"]), needed=count(group["needed"]))


def _readable(value: Any, name: str = "") -> Any:
    """Give the values of an English sentence with short groups and shifts in plain words."""
    if isinstance(value, Mapping):
        return {key: _readable(each, key) for key, each in value.items()}
    if isinstance(value, list):
        return [_readable(each) for each in value]
    if name == "group":
        return shorten(value, SENTENCE_NAME)
    return plain_name(value) if name == "shift" else value


def _flatten(tree: Mapping[str, object], prefix: str = "") -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for key, value in tree.items():
        if isinstance(value, Mapping):
            pairs += _flatten(value, f"{prefix}{key}.")
        else:
            pairs.append((prefix + key, str(value)))
    return pairs


def available_languages() -> list[str]:
    """Give the languages that have a file of texts, sorted."""
    names = (entry.name for entry in _FOLDER.iterdir())
    return sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml"))


def load_texts(language: str, of: str = "images", alarms: int | None = None) -> Texts:
    """Read the texts of ``language``, for example ``en``.

    Texts speak of images; ``of="units"`` makes them speak of whatever can be right or wrong, and
    ``of="objects"`` of what a detector finds, with ``alarms`` as in `JudgedDetector`.

    Raises:
        InputError: If there is no file of texts for that language.
    """
    if language not in available_languages():
        raise InputError(
            f"The report has no texts for the language {language!r}; set reporting.language to "
            f"one of: {', '.join(available_languages())}."
        )
    messages = tomllib.loads(_FOLDER.joinpath(f"{language}.toml").read_text(encoding="utf-8"))
    words, of_objects = messages.pop("words_of_units"), messages.pop("of_objects")
    if of == "images":
        return Texts(messages)
    known = dict(_flatten(messages))
    exchanged = {key: _exchanged(text, words) for key, text in known.items()}
    if of == "units":
        return Texts(exchanged, of_units=True)
    # Images stay images, but where texts mean what is right or wrong.
    judged = {key: text for key, text in exchanged.items() if key.startswith("sentence.")}
    return Texts({**known, **judged, **dict(_flatten(of_objects))}, of_units=True, alarms=alarms)


def texts_about(verdict: Verdict, language: str) -> Texts:
    """Read the texts that fit what a verdict is about, see `what_is_judged`."""
    alarms = verdict.detector.alarms if verdict.detector else None
    return load_texts(language, what_is_judged(verdict), alarms)


def what_is_judged(verdict: Verdict) -> str:
    """Say whether texts about a verdict speak of images, of a table's units or of objects."""
    if verdict.source is not None:
        return "units"
    return "images" if verdict.detector is None else "objects"


def _exchanged(text: str, words: Mapping[str, str]) -> str:
    """Exchange words, but not the names of values."""
    parts = _PLACE.split(text)
    for old, new in words.items():
        parts[::2] = [part.replace(old, new) for part in parts[::2]]
    return "".join(parts)
