"""The trials of one audit: what they share, the float model's answers, and the simulation."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.handed_on import HandedOn
from ptq_pipeline.core.names import CLEAN
from ptq_pipeline.core.units import NO_CLASS
from ptq_pipeline.images.audit_data import AuditData
from ptq_pipeline.models import FloatModel
from ptq_pipeline.stress.shifts import StressParameters
from ptq_pipeline.trials.evaluation import Evaluation, build_evaluation
from ptq_pipeline.trials.execution import TrialRunner
from ptq_pipeline.trials.executors import Executor
from ptq_pipeline.trials.recipe import Recipe, SimulatedParameters
from ptq_pipeline.trials.trial import TrialOutcome, TrialStore
from ptq_pipeline.trials.workload import Workload

if TYPE_CHECKING:
    from ptq_pipeline.runtimes import Predictor

# Images that another runtime answers too, for comparison: as many of each class, at least one.
COMPARED_IMAGES, MOST_COMPARED = 300, 1000
# Share of the largest logit by which runtimes may differ in float.
FLOAT_ROUNDING = 1e-3

# From the shifts, the float model's predictions and the spec of a trial to what is told each draw's
# set and predictions (None when it failed), in the order of the draws, and says whether the recipe
# is refused by now.
Refuse = Callable[
    [Sequence[str], pd.DataFrame, Mapping[str, Any]], Callable[[str, pd.DataFrame | None], bool]
]


@dataclass(frozen=True, eq=False)
class Audit(HandedOn):
    """What all trials of an audit share, assembled once a run and handed on whole.

    Attributes:
        stressed: per shift other than clean, uint8 images of the evaluated samples in their order.
    """

    data: AuditData
    stressed: Mapping[str, np.ndarray]
    model: FloatModel
    store: TrialStore
    shifts: StressParameters
    recipe: Recipe

    @cached_property
    def evaluation(self) -> Evaluation:
        """Selection and audit samples under every shift."""
        return build_evaluation(self.data, self.stressed, self.shifts.root, self.model.task)

    @cached_property
    def selection(self) -> Evaluation:
        """The clean selection images."""
        return self.evaluation.of("selection", [CLEAN])

    @cached_property
    def compared(self) -> np.ndarray:
        """Which units of `evaluation` are a few hundred of selection, as many of each class."""
        units = self.evaluation.units.reset_index(drop=True)
        selection = units[(units["split"] == "selection") & (units["label"] != NO_CLASS)]
        per_class = max(1, COMPARED_IMAGES // len(self.model.classes))
        return selection.groupby("label").head(per_class).index.to_numpy()[:MOST_COMPARED]

    def runner(self, executor: Executor | None = None) -> TrialRunner:
        """Return a runner of the audit's trials; what it quantizes are their very integers."""
        from ptq_pipeline.ptq.image_statistics import ImageRows

        shared = self.recipe.statistics == "shared"
        workload = Workload(
            self.model,
            self.recipe.runtime.build(),
            self.data.image_shape,
            batch_size=self.recipe.runtime.batch_size,
            statistics_folder=self.store.statistics if shared else None,
            pool=ImageRows(self.data.images, self.data.of("pool")["sample_id"].to_numpy()),
            objects=self.store.objects,
        )
        return TrialRunner(workload, self.recipe.method, self.store, self.shifts.root, executor)

    def simulated(self, set_id: str, images: np.ndarray) -> TrialOutcome | None:
        """Run a calibration set's trial in the simulation, on the clean selection images.

        None for a file of another tool that torch cannot execute.
        """
        if self.recipe.file_format not in (None, "onnx"):
            return None
        runtime = SimulatedParameters(name="simulated", batch_size=self.recipe.runtime.batch_size)
        recipe = self.recipe.model_copy(update={"runtime": runtime})
        in_torch = replace(self, shifts=StressParameters({CLEAN: {}}), recipe=recipe)
        return in_torch.runner().run(set_id, images, self.selection)

    def float_reference(self, runner: TrialRunner) -> pd.DataFrame:
        """Return ``shift``, ``sample_id``, ``predicted`` of the float model.

        Every drop is counted from these answers, so before the first trial the serving runtime is
        held against torch, class by class. A few hundred clean selection images do; where torch
        itself hardly prefers its answer, no other one is wrong.

        Raises:
            InputError: more answers differ than rounding explains.
        """
        from ptq_pipeline.runtimes import disagreement

        outcome = runner.run(None, None, self.evaluation)
        assert outcome.predictions is not None
        if len(self.compared):
            got = outcome.predictions[CLEAN][self.compared]
            table = self.by_class(*self._in_torch(got), self.compared)
            if (found := disagreement(table)) is not None:
                name = self.recipe.runtime.name
                raise InputError(
                    f"the float model answers in runtime {name!r} not as in torch: on clean "
                    f"selection images {found}. Look for what a conversion fixes or computes in "
                    "another way (a branch on values, pooling with ceil_mode), or set "
                    "quantization.runtime.name to another runtime; if the network's code was "
                    "edited, empty the trial store"
                )
        return outcome.table(self.evaluation).drop(columns="trial_id")

    def _in_torch(self, got: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return what torch answers to `compared`, and ``got`` where that is another answer."""
        from ptq_pipeline.models.inference import in_torch, run_in_batches

        if self.model.task.finds_objects:
            return self.predict(in_torch(self.model), CLEAN, 50, self.compared), got
        rows, array = self.evaluation.rows[CLEAN][self.compared], self.evaluation.arrays[CLEAN]
        logits, _ = run_in_batches(self.model, np.stack([array[row] for row in rows]))
        own = logits.argmax(1)
        preferred = logits.max(1) - logits[np.arange(len(own)), got]
        same = preferred <= FLOAT_ROUNDING * np.abs(logits).max()
        return own, np.where(same, own, got)

    def by_class(
        self, reference: np.ndarray, other: np.ndarray, positions: np.ndarray
    ) -> pd.DataFrame:
        """Compare two models' answers to some units of `evaluation`, see `parity`."""
        from ptq_pipeline.runtimes import parity

        labels = self.evaluation.units["label"].to_numpy()[positions]
        known = labels != NO_CLASS
        return parity(reference[known], other[known], labels[known], list(self.model.classes))

    def predict(
        self,
        predictor: "Predictor",
        shift: str,
        batch_size: int,
        positions: "np.ndarray | slice" = slice(None),
    ) -> np.ndarray:
        """Return a compiled model's answers, int32, to some units under one shift."""
        return self.evaluation.predict(
            predictor, self.model.preprocessing, shift, batch_size, positions
        )
