"""The audit ledger: how often audit images were asked, and what another question costs.

Whoever asks one set of images about many recipes finds one that passes by luck, and so does whoever
asks one recipe again with other draws, groups, shifts or limits. Everything that opens audit images
is therefore entered here, by hashes, before an outcome is computed; asking the same again finds its
old entry and costs nothing.

A *question* is what is asked: a recipe (with the candidate that it chooses), a design, a champion.
A *look* is one way of asking it: a number of draws, groups, limits, shifts, a set of images. Sets
that share half of the smaller one's images are one set (:class:`AuditImages`), so a set that grows
stays what it was. The ``index`` counts the questions to these images, whatever their kind; what a
question may spend follows from it and from the policy's rule. Within a question every look that
could PASS takes a ``share`` of that, and the shares of all looks add up to 1 at most.

So the chance that any look at one question passes wrongly stays at its level (the union bound over
looks), under every rule. Under ``spend`` the ``j``-th question gets ``6 alpha / (pi**2 j**2)``,
under ``divide`` each of ``m`` gets ``alpha / m``: both add up to ``alpha`` at most, so the chance
that any question passes wrongly does (alpha spending as in Foster and Stine 2008,
"Alpha-investing", JRSS B 70). The bound holds for questions that were listed before, and for the
next one when all that is known is that nothing has passed yet; who picks the next recipe by the
figures of the last audit can do worse than it says.

The file holds one JSON object per line; each carries the hash of the one before, so an edited,
removed or moved line is found. A file beside it, ``audit_ledger.head.json``, holds the number of
lines and the hash of the last one, so lines cut off the end are found as well, and a lost file.
Version control keeps both, and the verdict, which names its entries.

Entries of earlier releases (schema version 1) name their images by one hash and no look: they count
as questions to the very same images, and the first look since at such a question is taken for
theirs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

from filelock import FileLock, Timeout

from ptq_pipeline.core.canonical import canonical_hash, canonical_json, file_bytes
from ptq_pipeline.core.chains import ChainError, Head, Link, head_of, read_link
from ptq_pipeline.core.documents import READING, Document
from ptq_pipeline.core.errors import InputError, first_fault
from ptq_pipeline.core.files import write_file
from ptq_pipeline.judgement.baseline import audit_hash

LEDGER_SCHEMA_VERSION: Final = 2
WITHOUT_LOOKS = 1
LOCK_SECONDS = 60.0
# Of each set of images so many are kept, by the first digits of their hashes.
KEPT_IMAGES, KEPT_DIGITS = 2048, 8
# Sets that share so much of the smaller one are one set.
SAME_SET = 0.5
WAY_OUT = "restore the file from version control; a ledger is only ever added to"


@dataclass(frozen=True)
class AuditImages:
    """A set of audit images, by what another set is recognised by.

    Attributes:
        hash: Of all of them, see :func:`.audit_hash`.
        kept: The smallest 2,048 of their content hashes, eight digits each, in order.
    """

    hash: str
    kept: str

    @classmethod
    def of(cls, content_hashes: Iterable[str]) -> AuditImages:
        """Describe a set by the hashes of its images' pixels, hexadecimal, in the set's order."""
        hashes = list(content_hashes)
        kept = sorted({each[:KEPT_DIGITS] for each in hashes})[:KEPT_IMAGES]
        return cls(audit_hash(hashes), "".join(kept))


def overlap(first: str, second: str) -> float:
    """About the share of the smaller set that is in the other one, of two sets' ``kept``.

    The smallest hashes of a set are a random sample of it. Below the smaller of their two largest
    ones both samples are complete; sets of up to 2,048 images are compared whole.

    Examples:
        >>> overlap("0000000100000002", "00000002000000030000000400000005")
        0.5
    """
    one, two = _digits(first), _digits(second)
    largest = min((max(each) for each in (one, two) if len(each) >= KEPT_IMAGES), default="~")
    one, two = ({each for each in own if each <= largest} for own in (one, two))
    return len(one & two) / max(min(len(one), len(two)), 1)


def _digits(kept: str) -> set[str]:
    return {kept[i : i + KEPT_DIGITS] for i in range(0, len(kept), KEPT_DIGITS)}


class Entry(Link):
    """One look at audit images.

    Attributes:
        audit: Hash of the audit images, see :func:`.audit_hash`.
        images: Their ``kept``, in the first entry of these very images; None in later ones.
        kind: What was judged, e.g. ``recipe``, ``design`` or ``reaudit``.
        index: Place of its question among the distinct ones that these images were asked, from 1.
        question: What identifies it: names and hashes.
        look: What else decides what can pass; None where answers were only computed.
        share: What it may spend of its question's level; 0 where it could not pass.
    """

    added: ClassVar[frozenset[str]] = frozenset({"images", "look", "share"})

    schema_version: Literal[1, 2] = LEDGER_SCHEMA_VERSION
    audit: str
    images: str | None = None
    kind: str
    index: int
    question: dict[str, Any]
    look: dict[str, Any] | None = None
    share: float = 0.0

    @property
    def asked(self) -> tuple[str, str]:
        """Kind and hash of the question."""
        return self.kind, canonical_hash(self.question)

    @property
    def line(self) -> bytes:
        """Its line in the file: what it says, and the hash of that."""
        return canonical_json(self.to_json())


class LedgerHead(Document):
    """Content of the head's file."""

    entries: int
    head: str


@dataclass(frozen=True)
class Asking:
    """What is asked of audit images: ``look`` is None where answers are only computed.

    ``share`` is what the look would spend of its question's level.
    """

    kind: str
    question: Mapping[str, Any]
    look: Mapping[str, Any] | None = None
    share: float = 0.0


class Ledger:
    """All entries of one file.

    Args:
        path: The file; a missing one is an empty ledger.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)

    @property
    def head(self) -> Path:
        """The file that holds the number of entries and the hash of the last one."""
        return self.path.with_suffix(".head.json")

    def entries(self) -> tuple[Entry, ...]:
        """Return all entries in their order.

        Raises:
            InputError: If the file was edited or shortened, is lost or cannot be read.
        """
        found: list[Entry] = []
        if self.path.exists():
            text = self.path.read_text(encoding="utf-8")
            if not text:
                raise InputError(f"'{self.path}' is empty, and no audit ledger ever is: {WAY_OUT}")
            # A name may hold what other systems end lines with.
            for number, line in enumerate(text.removesuffix("\n").split("\n"), start=1):
                found.append(_entry(line, f"'{self.path}', line {number}", found))
        known = self._known_head()
        # A process that was killed in between leaves the head one entry behind, never ahead.
        if head_of(found[: known[0]]) != known:
            raise InputError(
                f"'{self.path}' holds {len(found)} entries, and '{self.head}' knows of {known[0]}, "
                f"the last of which is not there: entries are missing: {WAY_OUT}"
            )
        return tuple(found)

    def _known_head(self) -> Head:
        """What the head's file says; nothing where there is none, as with earlier releases."""
        try:
            known = LedgerHead.model_validate_json(self.head.read_bytes(), context=READING)
        except FileNotFoundError:
            return 0, None
        except ValueError as error:
            raise InputError(
                f"'{self.head}' is damaged ({first_fault(error)}): {WAY_OUT}"
            ) from error
        return known.entries, known.head

    def enter(self, images: AuditImages, asking: Asking) -> Entry:
        """Enter a look before its outcomes are computed.

        Returns:
            Its entry: the old one if these very images were asked the same before.

        Raises:
            InputError: If the file was edited, or another process holds it.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lock = self.path.with_name(f".{self.path.name}.lock")
        try:
            with FileLock(lock, timeout=LOCK_SECONDS):
                return self._enter(images, asking)
        except Timeout:
            raise InputError(
                f"another process has held '{lock}' for {LOCK_SECONDS:.0f} s; end it, or run this "
                "again when it is done"
            ) from None

    def foresee(self, images: AuditImages, asking: Asking) -> Entry:
        """The entry that it would find or make; nothing is written."""
        return _found_or_next(self.entries(), images, asking)

    def _enter(self, images: AuditImages, asking: Asking) -> Entry:
        entries = self.entries()
        entry = _found_or_next(entries, images, asking)
        if not any(entry is each for each in entries):
            entries = (*entries, entry)
            write_file(self.path, b"".join(each.line + b"\n" for each in entries))
        if self._known_head() != head_of(entries):
            head = LedgerHead(entries=len(entries), head=entries[-1].hash)
            write_file(self.head, file_bytes(head.to_json()))
        return entry


def _found_or_next(entries: Sequence[Entry], images: AuditImages, asking: Asking) -> Entry:
    question = dict(asking.question)
    look = None if asking.look is None else dict(asking.look)
    wanted = asking.kind, canonical_hash(question)
    alike = asked_of(entries, images)
    same = [each for each in alike if each.asked == wanted]
    for each in same:
        if each.schema_version > WITHOUT_LOOKS and (each.audit, each.look) == (images.hash, look):
            return each
    left = max(0.0, 1 - sum(each.share for each in same))
    known = any(each.audit == images.hash and each.images is not None for each in entries)
    return Entry(
        audit=images.hash,
        images=None if known else images.kept,
        kind=asking.kind,
        index=_place(alike, wanted),
        question=question,
        look=look,
        # Thirds add up to 1 but for the last digit.
        share=round(min(asking.share, left), 12),
        previous=head_of(entries)[1],
    )


def asked_of(entries: Sequence[Entry], images: AuditImages) -> list[Entry]:
    """The entries that concern these images: of sets that share half of the smaller one with it."""
    kept = {each.audit: each.images for each in entries if each.images is not None}
    same = {
        audit: audit == images.hash or overlap(known, images.kept) >= SAME_SET
        for audit, known in kept.items()
    }
    return [each for each in entries if same.get(each.audit, each.audit == images.hash)]


def _place(alike: Sequence[Entry], wanted: tuple[str, str]) -> int:
    """Place of a question among the distinct ones, from 1."""
    # In earlier releases a candidate had an entry beside that of its recipe.
    told = [
        each.asked
        for each in alike
        if each.schema_version > WITHOUT_LOOKS or each.kind != "candidate"
    ]
    return list(dict.fromkeys([*told, wanted])).index(wanted) + 1


def _entry(line: str, where: str, before: Sequence[Entry]) -> Entry:
    try:
        entry = read_link(Entry, line, before)
        if entry.schema_version > WITHOUT_LOOKS:
            kept = {each.audit: each.images for each in before if each.images is not None}
            images = AuditImages(entry.audit, entry.images or kept.get(entry.audit, ""))
            if entry.index != _place(asked_of(before, images), entry.asked):
                raise ChainError
    except ChainError:
        raise InputError(f"{where}: the audit ledger was edited: {WAY_OUT}") from None
    except ValueError as error:
        raise InputError(
            f"{where}: no entry of the audit ledger ({first_fault(error)}): {WAY_OUT}"
        ) from None
    return entry
