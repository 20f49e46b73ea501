"""The trials of one audit: what they share, the float model's answers, and the simulation."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.names import CLEAN
from ptq_pipeline.images.audit_data import AuditData
from ptq_pipeline.models import FloatModel
from ptq_pipeline.stress.shifts import StressParameters
from ptq_pipeline.trials.evaluation import Evaluation, build_evaluation
from ptq_pipeline.trials.execution import TrialOutcome, TrialRequest, TrialRunner
from ptq_pipeline.trials.executors import Executor
from ptq_pipeline.trials.recipe import Recipe, SimulatedParameters
from ptq_pipeline.trials.store import TrialStore
from ptq_pipeline.trials.workload import Workload

# Images that another runtime answers too, for comparison: as many of each class, at least one.
COMPARED_IMAGES, MOST_COMPARED = 300, 1000
# Share of the largest logit by which runtimes may differ in float.
FLOAT_ROUNDING = 1e-3

# From the float model's predictions to what is told each draw's set and predictions (None when it
# failed), in the order of the draws, and says whether the recipe is refused by now.
Refuse = Callable[[pd.DataFrame], Callable[[str, pd.DataFrame | None], bool]]


@dataclass(frozen=True, eq=False)
class Audit:
    """What all trials of an audit share.

    Attributes:
        data: samples and pixels.
        model: the float model.
        store: where results are kept.
        shifts: what the models are evaluated under.
        recipe: method and runtime.
    """

    data: AuditData
    model: FloatModel
    store: TrialStore
    shifts: StressParameters
    recipe: Recipe

    @cached_property
    def evaluation(self) -> Evaluation:
        """Selection and audit samples under every shift."""
        return build_evaluation(self.data, self.shifts.root)

    def runner(self, executor: Executor | None = None) -> TrialRunner:
        """Return a runner of the audit's trials; what it quantizes are their very integers.

        Args:
            executor: where trials run; in this process when left out.
        """
        from ptq_pipeline.ptq.image_statistics import ImageRows

        shared = self.recipe.statistics == "shared"
        workload = Workload(
            self.model,
            self.recipe.runtime.build(),
            self.data.image_shape,
            batch_size=self.recipe.runtime.batch_size,
            statistics_folder=self.store.statistics if shared else None,
            pool=ImageRows(self.data.images, self.data.rows("pool")),
        )
        return TrialRunner(workload, self.recipe.method, self.store, self.shifts.root, executor)

    def simulated(self, request: TrialRequest) -> TrialOutcome | None:
        """Run one trial on clean images in the simulation, the reference of all runtimes.

        Returns:
            The outcome; None for a file of another tool that torch cannot execute.
        """
        if self.recipe.file_format == "openvino":
            return None
        runtime = SimulatedParameters(name="simulated", batch_size=self.recipe.runtime.batch_size)
        in_torch = replace(
            self,
            shifts=StressParameters({CLEAN: {}}),
            recipe=self.recipe.model_copy(update={"runtime": runtime}),
        )
        return in_torch.runner().run(request.set_id, request.images, request.evaluation)

    def float_reference(self, runner: TrialRunner) -> pd.DataFrame:
        """Return ``shift``, ``sample_id``, ``predicted`` of the float model.

        Raises:
            InputError: as `require_float_reference`.
        """
        outcome = runner.run(None, None, self.evaluation)
        require_float_reference(self.model, self.evaluation, outcome, runner.runtime.name)
        return long_predictions(outcome, self.evaluation).drop(columns="trial_id")


def long_predictions(outcome: TrialOutcome, evaluation: Evaluation) -> pd.DataFrame:
    """Return ``trial_id``, ``shift``, ``sample_id``, ``predicted`` of a trial that was done."""
    ids = evaluation.samples["sample_id"].to_numpy()
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "trial_id": outcome.spec.trial_id,
                    "shift": shift,
                    "sample_id": ids,
                    "predicted": predicted,
                }
            )
            for shift, predicted in (outcome.predictions or {}).items()
        ],
        ignore_index=True,
    )


def compared_positions(evaluation: Evaluation, classes: int) -> np.ndarray:
    """Return where a few hundred selection images stand, as many of each class."""
    samples = evaluation.samples.reset_index(drop=True)
    selection = samples[samples["split"] == "selection"]
    per_class = max(1, COMPARED_IMAGES // classes)
    return selection.groupby("label").head(per_class).index.to_numpy()[:MOST_COMPARED]


def require_float_reference(
    model: FloatModel, evaluation: Evaluation, outcome: TrialOutcome, runtime: str
) -> None:
    """Hold the serving runtime's answers of the float model against torch, class by class.

    Every drop is counted from these answers, so this comes before the first trial. A few hundred
    clean selection images do; where torch itself hardly prefers its answer, no other one is wrong.

    Raises:
        InputError: more answers differ than rounding explains.
    """
    from ptq_pipeline.models import run_in_batches
    from ptq_pipeline.runtimes import disagreement, parity

    chosen = compared_positions(evaluation, len(model.classes))
    if not len(chosen):
        return
    array, rows = evaluation.arrays[CLEAN], evaluation.rows[CLEAN][chosen]
    logits, _ = run_in_batches(model, np.stack([array[row] for row in rows]))
    assert outcome.predictions is not None
    got, own = outcome.predictions[CLEAN][chosen], logits.argmax(1)
    preferred = logits.max(1) - logits[np.arange(len(own)), got]
    same = preferred <= FLOAT_ROUNDING * np.abs(logits).max()
    labels = evaluation.samples["label"].to_numpy()[chosen]
    table = parity(own, np.where(same, own, got), labels, list(model.classes))
    if (found := disagreement(table)) is not None:
        raise InputError(
            f"the float model answers in runtime {runtime!r} not as in torch: on clean selection "
            f"images {found}. Look for what a conversion fixes or computes in another way (a "
            "branch on values, pooling with ceil_mode), or set quantization.runtime.name to "
            "another runtime; if the network's code was edited, empty the trial store"
        )
