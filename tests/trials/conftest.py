import gzip

import numpy as np
import pandas as pd
import pytest
from tests.trials.small_audit import CLASSES

from ptq_pipeline.images.audit_data import AuditData
from ptq_pipeline.images.source import content_hashes
from ptq_pipeline.models import Preprocessing, load_float_model
from ptq_pipeline.ptq import MethodSpec
from ptq_pipeline.runtimes import build_runtime
from ptq_pipeline.trials.evaluation import build_evaluation
from ptq_pipeline.trials.execution import TrialRequest, TrialRunner
from ptq_pipeline.trials.trial import TrialStore
from ptq_pipeline.trials.workload import Workload

SHAPE = (1, 12, 12)


class Study:
    """Five trials of a small random model, and how to run them."""

    def __init__(self, model, folder):
        self.model = model
        self.folder = folder
        images = np.random.default_rng(0).integers(0, 256, (60, *SHAPE), dtype=np.uint8)
        np.save(folder / "images.npy", images)
        self.images = np.load(folder / "images.npy", mmap_mode="r")
        samples = pd.DataFrame(
            {
                "sample_id": range(60),
                "content_hash": content_hashes(images),
                "label": np.arange(60) % 3,
                "split": ["audit", "pool", "selection"] * 20,
            }
        )
        self.evaluation = build_evaluation(AuditData(samples, self.images), {}, ["clean"])
        self.requests = [
            TrialRequest(f"set{number}", images[1 + number :: 12], self.evaluation)
            for number in range(5)
        ]

    def runner(self, name, executor=None, runtime="simulated"):
        store = TrialStore(self.folder / name)
        workload = Workload(
            self.model,
            build_runtime(runtime, threads=1),
            SHAPE,
            batch_size=7,
            statistics_folder=store.statistics,
        )
        return TrialRunner(workload, MethodSpec(4, 4), store, {"clean": {}}, executor)

    def predictions(self, name, executor=None):
        outcomes = self.runner(name, executor).run_all(self.requests)
        return [outcome.predictions["clean"] for outcome in outcomes]


@pytest.fixture(scope="session")
def study(random_model, tmp_path_factory):
    return Study(random_model, tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="session")
def expected(study):
    """What the serial executor answers."""
    return study.predictions("serial")


@pytest.fixture(scope="session")
def model(project):
    return load_float_model(
        "ptq_pipeline.models.resnet20",
        project / "data/06_models/reference/resnet20.safetensors",
        Preprocessing((0.286,), (0.353,)),
        CLASSES,
    )


@pytest.fixture(scope="session")
def data(raw_data, model):
    raw = gzip.decompress((raw_data / "fashion_mnist/test/images-idx3-ubyte.gz").read_bytes())
    images = np.frombuffer(raw, np.uint8, count=420 * 784, offset=16).reshape(-1, 1, 28, 28)
    raw = gzip.decompress((raw_data / "fashion_mnist/test/labels-idx1-ubyte.gz").read_bytes())
    samples = pd.DataFrame(
        {
            **{"sample_id": range(420), "content_hash": content_hashes(images)},
            "label": np.frombuffer(raw, np.uint8, count=420, offset=8).astype(int),
            "split": ["audit"] * 300 + ["selection"] * 100 + ["pool"] * 20,
        }
    )
    sets = {f"s{n}": images[360 + n : 360 + n + 16] for n in range(31)}
    index = pd.DataFrame(
        {
            **{"set_id": list(sets), "strategy": "random", "role": "evidence"},
            **{"draw": range(31), "valid": True},
        }
    )
    return images, samples, sets, index
