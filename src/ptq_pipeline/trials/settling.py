"""A recipe's verdict from no more images and draws than it needs.

Draws come in their order, images in a random order that the audit set fixes. After every few
images each draw is held against what the full audit would show (`reliability.settling`); it stops
when that is settled, and the study stops when the recipe's verdict is. One bad group makes a bad
draw, so groups that look bad, or were bad in the draw before, are looked at ahead of the others.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ptq_pipeline.core.errors import PtqPipelineError
from ptq_pipeline.judgement.settling import SettlingLevels
from ptq_pipeline.statistics.anytime import fail_budget, failing_draw
from ptq_pipeline.trials.execution import TrialRunner
from ptq_pipeline.trials.settling_draw import Draw, Known, answers
from ptq_pipeline.trials.stopping import Study


@dataclass(frozen=True)
class SettledDraw:
    """What was settled about one draw.

    Attributes:
        set_id: its calibration set.
        state: ``good`` or ``bad`` as the full audit would show it, ``open`` for neither, ``failed``
            when it could not be quantized, which counts as bad.
        images: images evaluated, over all shifts.
    """

    set_id: str
    state: str
    images: int


@dataclass(frozen=True)
class SettledVerdict:
    """The recipe's verdict, and what it took.

    Attributes:
        result: PASS, FAIL or INCONCLUSIVE.
        draws: what was looked at, in order.
        failed_after_draws: draws after which FAIL was declared, or None.
        wanted_draws: the preset number of draws.
        images: images evaluated by quantized models.
        full_images: what the full audit of the preset draws would evaluate.
        delta: probability, at most, that the full audit says anything else than PASS or FAIL here.
    """

    result: str
    draws: tuple[SettledDraw, ...]
    failed_after_draws: int | None
    wanted_draws: int
    images: int
    full_images: int
    delta: float

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        states = [draw.state for draw in self.draws]
        return {
            "schema_version": 1,
            "result": self.result,
            "draws": [vars(draw) for draw in self.draws],
            "good": states.count("good"),
            "bad": states.count("bad") + states.count("failed"),
            "failed_after_draws": self.failed_after_draws,
            "wanted_draws": self.wanted_draws,
            "images": self.images,
            "full_images": self.full_images,
            "delta": self.delta,
            "statement": (
                f"{self.result} after {len(self.draws)} of {self.wanted_draws} draws and "
                f"{self.images} of {self.full_images} answers. The full audit says the same "
                f"unless an event of probability {self.delta:g} has happened."
                if self.result != "INCONCLUSIVE"
                else f"INCONCLUSIVE after {len(self.draws)} of {self.wanted_draws} draws: run "
                "the full audit."
            ),
        }


def settle(
    study: Study,
    runner: TrialRunner,
    images: Mapping[str, np.ndarray],
    watch: Callable[[Any], Any] = iter,
) -> SettledVerdict:
    """Look at draws until the recipe's verdict is settled.

    Args:
        study: what is judged.
        runner: quantizes and executes.
        images: uint8 calibration images by id of the set.
        watch: passes the sets on, for example to show progress.

    Returns:
        The verdict of the recipe. It says nothing of a candidate: that needs the full evaluation.
    """
    policy, draws, delta = study.scope.policy, study.scope.draws, study.looks.delta
    reference = Known(study, answers(runner, study, None, np.empty(0)))
    budget = fail_budget(policy.p0, policy.alpha_fail)
    levels = SettlingLevels.of(
        study.split.alpha_image, budget.alpha_images, delta, len(draws.table), study.cells
    )
    preset = draws.table["preset"].to_numpy(dtype=bool)
    found: list[SettledDraw] = []
    suspects: list[int] = []
    result, failed_at = "INCONCLUSIVE", None
    for set_id in watch(list(draws.table["set_id"])):
        try:
            answer = answers(runner, study, set_id, np.asarray(images[set_id]))
        except PtqPipelineError:
            found.append(SettledDraw(set_id, "failed", 0))
        else:
            draw = Draw(study, levels, Known(study, answer), reference)
            state = draw.settle(suspects)
            found.append(SettledDraw(set_id, state, draw.known.evaluated))
            suspects = draw.bad_cells or suspects
        bad = [draw.state in ("bad", "failed") for draw in found]
        good = np.array([draw.state == "good" for draw in found])
        failed_at = failing_draw(bad, budget)
        if failed_at is not None:
            result = "FAIL"
            break
        lost = int((~good & preset[: len(found)]).sum())
        possible = study.split.pass_possible and lost <= study.split.allowed and not study.blocked
        complete = draws.accepted >= policy.draws and len(found) >= preset.sum()
        if possible and complete:
            result = "PASS"
            break
        hopeful = bad + [True] * (len(draws.table) - len(found))
        if not possible and failing_draw(hopeful, budget) is None:
            break
    per_draw = len(study.evaluation.samples) * len(study.evaluation.arrays)
    return SettledVerdict(
        result=result,
        draws=tuple(found),
        failed_after_draws=failed_at,
        wanted_draws=policy.draws,
        images=sum(draw.images for draw in found),
        full_images=per_draw * policy.draws,
        delta=delta,
    )
