"""Two audits side by side: identical, equivalent or different, and where.

Identical means equal bytes. Processors may round differently, so an audit that is repeated
elsewhere can change a few answers: it is equivalent when verdict, policy and subject are the same
and every drop lies within a tolerance.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from ptq_pipeline.core.errors import InputError

TOLERANCE = 0.005
# Drops of small groups move in steps of one answer.
ANSWERS = 2
CELL_LISTS = {"candidate": ("drop",), "draw_spread": ("drop_mean", "drop_min", "drop_max")}


class Agreement(StrEnum):
    """How far two audits agree."""

    IDENTICAL = "identical"
    EQUIVALENT = "equivalent"
    DIFFERENT = "different"


@dataclass(frozen=True)
class Audit:
    """What an audit left in git.

    Attributes:
        verdict: content of ``verdict.json``.
        decision: content of ``decision.json``.
        outs: hash of every out by its path, from ``dvc.lock``; None where it is not of this audit.
        params: value of every parameter by its stage and name, likewise.
    """

    verdict: Mapping[str, Any]
    decision: Mapping[str, Any]
    outs: Mapping[str, str] | None = None
    params: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_lock(
        cls, verdict: Mapping[str, Any], decision: Mapping[str, Any], lock: Mapping[str, Any] | None
    ) -> "Audit":
        """Read outs and parameters from the content of ``dvc.lock``.

        Raises:
            InputError: it is no lock file of a version that this release reads.
        """
        if lock is None:
            return cls(verdict, decision)
        outs, params = {}, {}
        try:
            for stage, content in lock["stages"].items():
                for out in content.get("outs", []):
                    outs[out["path"]] = out["md5"]
                for values in content.get("params", {}).values():
                    for name, value in values.items():
                        params[f"{stage}: {name}"] = value
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(f"dvc.lock cannot be read ({error}); run `dvc repro`") from error
        return cls(verdict, decision, outs, params)


@dataclass(frozen=True)
class Difference:
    """One place where two audits differ.

    Attributes:
        where: what differs.
        before: there, in the earlier audit.
        now: there, in this one.
        matters: whether the audits are different because of it, and not only not identical.
    """

    where: str
    before: Any
    now: Any
    matters: bool

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "where": self.where,
            "before": self.before,
            "now": self.now,
            "matters": self.matters,
        }


@dataclass(frozen=True)
class AuditComparison:
    """What the comparison found; the differences that matter come first."""

    agreement: Agreement
    differences: tuple[Difference, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "agreement": str(self.agreement),
            "differences": [each.to_json() for each in self.differences],
        }


def compare_audits(before: Audit, now: Audit, tolerance: float = TOLERANCE) -> AuditComparison:
    """Compare two audits.

    Args:
        before: the earlier audit.
        now: this audit.
        tolerance: largest difference of a drop, a fraction, that two equivalent audits may show;
            two answers of a group are always allowed.
    """
    found = [
        *_verdicts(before.verdict, now.verdict, tolerance),
        *_decisions(before.decision, now.decision),
        *_mappings("parameter ", before.params, now.params),
        *_mappings("", before.outs or {}, now.outs or {}),
    ]
    found.sort(key=lambda each: not each.matters)
    if any(each.matters for each in found):
        agreement = Agreement.DIFFERENT
    elif found or before.verdict != now.verdict or before.decision != now.decision:
        agreement = Agreement.EQUIVALENT
    else:
        agreement = Agreement.IDENTICAL
    return AuditComparison(agreement, tuple(found))


def _verdicts(
    before: Mapping[str, Any], now: Mapping[str, Any], tolerance: float
) -> Iterator[Difference]:
    for key, name in (
        ("result", "verdict"),
        ("policy_hash", "policy"),
        ("schema_version", "schema"),
    ):
        if before.get(key) != now.get(key):
            yield Difference(name, before.get(key), now.get(key), True)
    old, new = before["recipe"], now["recipe"]
    for key in ("strategy", "draws", "set_size", "pool_size"):
        if old.get(key) != new.get(key):
            yield Difference(f"recipe {key}", old.get(key), new.get(key), True)
    if before["candidate"]["set_id"] != now["candidate"]["set_id"]:
        yield Difference(
            "candidate's calibration set",
            before["candidate"]["set_id"],
            now["candidate"]["set_id"],
            False,
        )
    for part, columns in CELL_LISTS.items():
        # Drops of two candidates may differ for that reason alone; those over all draws may not.
        same = part != "candidate" or before["candidate"]["set_id"] == now["candidate"]["set_id"]
        yield from _cells(part, columns, _rows(before, part), _rows(now, part), tolerance, same)


def _rows(verdict: Mapping[str, Any], part: str) -> dict[tuple[str, ...], Mapping[str, Any]]:
    rows = verdict["candidate"]["cells"] if part == "candidate" else verdict[part]
    return {(row["level"], row["group"], row["shift"]): row for row in rows}


def _cells(
    part: str,
    columns: tuple[str, ...],
    before: Mapping[tuple[str, ...], Mapping[str, Any]],
    now: Mapping[tuple[str, ...], Mapping[str, Any]],
    tolerance: float,
    same: bool,
) -> Iterator[Difference]:
    for key in sorted({*before, *now}):
        level, group, shift = key
        name = f"{part.replace('_', ' ')}: {level} {group} under {shift}"
        if key not in before or key not in now:
            there = {True: "present", False: "missing"}
            yield Difference(name, there[key in before], there[key in now], True)
            continue
        old, new = before[key], now[key]
        if old["n"] != new["n"]:
            yield Difference(f"{name}, samples", old["n"], new["n"], True)
            continue
        for column in columns:
            gap = abs(old[column] - new[column])
            if gap > 0:
                # Floating-point noise in a difference of exact fractions is no answer.
                wide = gap > max(tolerance, ANSWERS / old["n"]) + 1e-12
                yield Difference(f"{name}, {column}", old[column], new[column], wide and same)


def _decisions(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Difference]:
    if before["decision"] != now["decision"]:
        yield Difference("decision", before["decision"], now["decision"], True)
    if before["champion"] != now["champion"]:
        yield Difference("champion compared with", before["champion"], now["champion"], True)


def _mappings(
    prefix: str, before: Mapping[str, Any], now: Mapping[str, Any]
) -> Iterator[Difference]:
    if not before or not now:
        return
    for key in sorted({*before, *now}):
        if before.get(key) != now.get(key):
            # What a parameter or a file changes shows in verdict and decision, if it matters.
            yield Difference(f"{prefix}{key}", before.get(key), now.get(key), False)
