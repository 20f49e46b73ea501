"""The ladder: recipes that are tried in order until one passes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ptq_pipeline.core.canonical import canonical_hash
from ptq_pipeline.core.errors import InputError


class Step(BaseModel):
    """One recipe, by what it changes of the configured one.

    Attributes:
        name: what it is called in reports and records.
        calibration: changes of the parameter group ``calibration``.
        quantization: changes of the parameter group ``quantization``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)
    calibration: dict[str, Any] = {}
    quantization: dict[str, Any] = {}

    def changes(self) -> dict[str, Any]:
        """Return the runtime parameters that make this recipe of the configured one."""
        groups = {"calibration": self.calibration, "quantization": self.quantization}
        return {name: dict(values) for name, values in groups.items() if values}


class LadderParameters(BaseModel):
    """Recipes in the order in which they are tried.

    Attributes:
        recipes: the steps, all different.
        fallback: what serves when none passes and the champion was shown to fail.
        by: who releases.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    recipes: tuple[Step, ...] = Field(min_length=1)
    fallback: Literal["champion", "float"] = "champion"
    by: str = Field(default="kedro ptq watch", min_length=1)

    def serve(self, champion: bool, failed: bool) -> Literal["champion", "float"] | None:
        """Return what should serve when no recipe passed.

        Args:
            champion: whether a version serves.
            failed: whether it was *shown* to fail; what is only open keeps serving.
        """
        if not champion:
            return None
        return self.fallback if failed else "champion"

    @model_validator(mode="after")
    def _different(self) -> Self:
        for key in ("name", "changes"):
            seen: dict[str, str] = {}
            for step in self.recipes:
                value = step.name if key == "name" else canonical_hash(step.changes())
                if value in seen:
                    raise ValueError(f"recipes '{seen[value]}' and '{step.name}' are the same")
                seen[value] = step.name
        return self


@dataclass(frozen=True)
class Rung:
    """What came of one step.

    Attributes:
        name: the step.
        decision: promote, refuse or inconclusive; "error" when it could not be tried.
        headline: one sentence about it.
        decision_hash: hash of the decision; None after an error.
    """

    name: str
    decision: str
    headline: str
    decision_hash: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return dict(vars(self))


def climb(
    ladder: LadderParameters, attempt: Callable[[Step], Rung], *, stop_at: tuple[str, ...]
) -> list[Rung]:
    """Try the steps in order until one comes to a decision in ``stop_at``.

    Args:
        ladder: the steps.
        attempt: runs the audit of one step and says what came of it.
        stop_at: decisions after which no further step is tried.

    Returns:
        What came of every step that was tried, in order.
    """
    tried: list[Rung] = []
    for step in ladder.recipes:
        tried.append(attempt(step))
        if tried[-1].decision in stop_at:
            break
    return tried


class Ending(StrEnum):
    """How a ladder of audits ended."""

    PASSED = "passed"
    INCONCLUSIVE = "inconclusive"
    RETRAINING = "retraining needed"


def conclude(rungs: Sequence[Rung]) -> Ending:
    """Say what the recipes that were tried amount to.

    Raises:
        InputError: none could be tried, so nothing is known about any of them.
    """
    if all(rung.decision == "error" for rung in rungs):
        raise InputError(f"no recipe of the ladder could be tried: {rungs[-1].headline}")
    endings = {"promote": Ending.PASSED, "inconclusive": Ending.INCONCLUSIVE}
    return endings.get(rungs[-1].decision, Ending.RETRAINING)
