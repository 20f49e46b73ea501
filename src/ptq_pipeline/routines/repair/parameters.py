"""Parameters of ``repair``: what the search may change, and what it may cost."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from ptq_pipeline.core.overlays import WITHOUT_NULL


class RepairParameters(BaseModel):
    """How a search for a recipe with a better worst group goes.

    Attributes:
        draws: calibration sets of each recipe that reaches the last round.
        keep: share of the recipes that reaches the next round.
        finalists: recipes in the last round, at least.
        learned: whether rounding that is learned by gradient steps (AdaRound, BRECQ, QDrop in few
            large steps) is tried too; minutes a draw on a CPU.
        max_bytes: recipes whose packed weights, scales and biases are larger are left out.
        eight_bits: layers whose weights and inputs stay at 8 bits, by name.
        minutes: no round begins later than that; null for no limit.
        recipes: methods of one's own to try, by the name in the table.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    draws: int = Field(default=8, ge=1)
    keep: float = Field(default=1 / 3, gt=0, lt=1)
    finalists: int = Field(default=3, ge=1)
    learned: bool = False
    max_bytes: int | None = Field(default=None, ge=1)
    eight_bits: tuple[str, ...] = ()
    minutes: float | None = Field(default=None, gt=0)
    recipes: Annotated[dict[str, dict[str, Any]], WITHOUT_NULL] = {}
