"""The study that all loops of `speed.py` run: same model, draws, images and shifts."""

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from ptq_pipeline.calibration.sets import load_sets
from ptq_pipeline.core.group_ids import GroupDefinitions
from ptq_pipeline.core.grouping import SubgroupScoringParameters
from ptq_pipeline.core.groups import Groups
from ptq_pipeline.images.audit_data import AuditData
from ptq_pipeline.judgement.policy import Policy
from ptq_pipeline.models import FloatModel, Preprocessing, load_float_model
from ptq_pipeline.pipelines.quantization.nodes import stress_images
from ptq_pipeline.ptq import MethodSpec
from ptq_pipeline.stress.shifts import StressParameters
from ptq_pipeline.trials.audit import Audit
from ptq_pipeline.trials.evaluation import Evaluation
from ptq_pipeline.trials.execution import TrialRequest, TrialRunner
from ptq_pipeline.trials.executors import Executor
from ptq_pipeline.trials.recipe import Recipe
from ptq_pipeline.trials.trial import TrialStore

PROJECT = Path(__file__).resolve().parents[1]
DATA = PROJECT / "data/bench"
THREADS = 2
SET_SIZE = 256


def parameters(group: str) -> dict:
    """Return one parameter group of the default configuration."""
    path = PROJECT / f"conf/base/parameters_{group}.yml"
    return yaml.safe_load(path.read_text(encoding="utf-8"))[group]


@dataclass(frozen=True)
class Study:
    """The default audit's data in memory or mapped, and the reference ResNet-20."""

    model: FloatModel
    samples: pd.DataFrame
    images: np.ndarray
    index: pd.DataFrame
    definitions: GroupDefinitions
    stressed: dict[str, np.ndarray]

    @classmethod
    def load(cls) -> "Study":
        """Draw and validate the 50 calibration sets if that has not been done, and load all."""
        if not (DATA / "05_model_input/calibration_set_index.parquet").is_file():
            command = [sys.executable, "-m", "kedro", "run", "--env", "study/bench"]
            command += ["--pipelines", "data_loading,calibration"]
            subprocess.run(command, cwd=PROJECT, check=True, stdout=subprocess.DEVNULL)
        samples = pd.read_parquet(DATA / "03_primary/samples.parquet")
        images = np.load(DATA / "03_primary/images.npy", mmap_mode="r")
        definitions = GroupDefinitions.read(
            json.loads((DATA / "03_primary/group_definitions.json").read_text(encoding="utf-8"))
        )
        model = load_float_model(
            "ptq_pipeline.models.resnet20",
            PROJECT / "data/06_models/reference/resnet20.safetensors",
            Preprocessing((0.286,), (0.353,)),
            definitions.classes,
        )
        return cls(
            model,
            samples,
            images,
            pd.read_parquet(DATA / "05_model_input/calibration_set_index.parquet"),
            definitions,
            stress_images(AuditData(samples, images), StressParameters(parameters("stress"))),
        )

    @property
    def shifts(self) -> dict[str, dict]:
        """Clean and two shifts."""
        return parameters("stress")

    @cached_property
    def evaluated(self) -> Evaluation:
        """Selection and audit images under all shifts."""
        return self.whole().evaluation

    @cached_property
    def audit(self) -> Evaluation:
        """The 8,000 audit images under all shifts."""
        return self.evaluated.only((self.evaluated.samples["split"] == "audit").to_numpy())

    @cached_property
    def pool(self) -> np.ndarray:
        """The pool's rows of `images`."""
        rows = self.samples.loc[self.samples["split"] == "pool", "sample_id"]
        return rows.sort_values().to_numpy()

    @cached_property
    def policy(self) -> Policy:
        """The shipped policy."""
        return Policy.model_validate(parameters("worst_case_check"))

    @cached_property
    def groups(self) -> Groups:
        """The shipped groups."""
        scoring = SubgroupScoringParameters.model_validate(parameters("subgroup_scoring"))
        return scoring.build(self.samples, self.definitions)

    @cached_property
    def sets(self) -> dict[str, np.ndarray]:
        """The 50 valid sets of the recipe, in their order."""
        loaded = load_sets(DATA / "05_model_input/calibration_sets")
        used = self.index[(self.index["role"] == "evidence") & self.index["valid"]]
        return {set_id: loaded[set_id].images for set_id in used.sort_values("draw")["set_id"]}

    def more_sets(self, count: int, pool_size: int | None = None) -> dict[str, np.ndarray]:
        """Draw any number of random sets, for measuring growth."""
        pool = self.pool[: pool_size or len(self.pool)]
        rng = np.random.default_rng(0)
        return {
            f"set{number}": self.images[rng.choice(pool, SET_SIZE, replace=False)]
            for number in range(count)
        }

    def repeated(self, count: int) -> Evaluation:
        """Return ``count`` clean evaluation images, by repetition where there are fewer."""
        rows = np.resize(self.audit.rows["clean"], count)
        chosen = self.samples.set_index("sample_id").loc[rows].reset_index()
        return Evaluation(chosen, {"clean": self.images}, {"clean": rows})

    def whole(self, bits: tuple[int, int] = (8, 8), threads: int = THREADS) -> Audit:
        """Return the audit with an empty store."""
        data = AuditData(self.samples, self.images, definitions=self.definitions)
        store = TrialStore(Path(tempfile.mkdtemp(prefix="bench-store-")))
        shipped = parameters("quantization")["runtime"]
        recipe = Recipe.model_validate(
            {
                "method": MethodSpec(*bits),
                "runtime": {
                    **{"name": "openvino", "threads": threads},
                    "batch_size": shipped["batch_size"],
                },
            }
        )
        shifts = StressParameters(self.shifts)
        return Audit(data, self.stressed, self.model, store, shifts, recipe)

    def runner(
        self,
        bits: tuple[int, int] = (8, 8),
        threads: int = THREADS,
        executor: Executor | None = None,
    ) -> TrialRunner:
        """Return this pipeline's runner on an empty store."""
        return self.whole(bits, threads).runner(executor)


class Clock:
    """Seconds of the clock and of this process's CPU time, over several stretches."""

    def __init__(self) -> None:
        self.walls: list[float] = []
        self.cpus: list[float] = []

    def __enter__(self) -> "Clock":
        self._wall, self._cpu = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *error: object) -> None:
        self.walls.append(time.perf_counter() - self._wall)
        self.cpus.append(time.process_time() - self._cpu)

    def to_json(self) -> dict[str, float]:
        """Mean, median and extremes of the stretches."""
        return {
            "mean_s": round(float(np.mean(self.walls)), 3),
            "median_s": round(float(np.median(self.walls)), 3),
            "min_s": round(min(self.walls), 3),
            "max_s": round(max(self.walls), 3),
            "mean_cpu_s": round(float(np.mean(self.cpus)), 3),
            "median_cpu_s": round(float(np.median(self.cpus)), 3),
        }


def requests(sets: dict[str, np.ndarray], evaluation: Evaluation) -> list[TrialRequest]:
    """Return one trial per set."""
    return [TrialRequest(set_id, images, evaluation) for set_id, images in sets.items()]
