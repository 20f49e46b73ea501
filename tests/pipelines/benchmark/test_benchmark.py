from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from kedro.config import OmegaConfigLoader
from pydantic import ValidationError

from ptq_pipeline.calibration.strategies import STRATEGIES
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.group_ids import GroupDefinitions
from ptq_pipeline.images.source import content_hashes
from ptq_pipeline.models import FloatModel, Preprocessing
from ptq_pipeline.pipelines.benchmark import nodes
from ptq_pipeline.pipelines.benchmark.parameters import MODELS, BenchmarkParameters
from ptq_pipeline.pipelines.benchmark.trials import SharedSets
from ptq_pipeline.settings import CONFIG_LOADER_ARGS
from ptq_pipeline.trials.trial import TrialStore
from ptq_pipeline.trials.workload import Workload

CLASSES = ["a", "b", "c"]
DEFINITIONS = GroupDefinitions(classes=tuple(CLASSES), segments={})
SHIPPED = yaml.safe_load(
    (Path(__file__).parents[3] / "conf/base/parameters_benchmark.yml").read_text()
)["benchmark"]
SMALL = {
    "seed": 1,
    "draws": 2,
    "set_size": 6,
    "bits": ["W8A8", "W8A2"],
    "methods": {"minmax": {}, "mse": {"weight_range": "mse", "activation_range": "mse"}},
    "shifts": {"clean": {}, "contrast": {"severity": 5}},
    "studies": {
        "strategies": {
            "reference": "random",
            "calibrations": {"random": {}, "hard": {"strategy": "hard"}},
        },
        "sizes": {
            "axis": "images",
            "reference": "6",
            "methods": ["minmax"],
            "calibrations": {4: {"size": 4}, 6: {"size": 6}},
        },
    },
    "replicates": 50,
    "runtime": {"name": "simulated", "batch_size": 16},
}


def parameters(**changes) -> BenchmarkParameters:
    return BenchmarkParameters.model_validate({**SMALL, **changes})


class Tiny(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first = torch.nn.Conv2d(1, 4, 3)
        self.last = torch.nn.Linear(4, 3)

    def forward(self, x):
        return self.last(torch.relu(self.first(x)).mean((2, 3)))


@pytest.fixture(scope="module")
def model():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return FloatModel(Tiny().eval(), Preprocessing((0.5,), (0.5,)), tuple(CLASSES), "tiny")


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (90, 1, 12, 12), dtype=np.uint8)


@pytest.fixture(scope="module")
def samples(images):
    return pd.DataFrame(
        {
            "sample_id": range(90),
            "content_hash": content_hashes(images),
            "label": np.arange(90) % 3,
            "split": np.repeat(["pool", "selection", "audit"], 30),
        }
    )


def run(samples, images, model, folder, settings):
    arguments = (samples, images, DEFINITIONS, model, TrialStore(folder), settings)
    return nodes.benchmark_of("resnet20")(*arguments)


@pytest.fixture(scope="module")
def found(samples, images, model, tmp_path_factory):
    return run(samples, images, model, tmp_path_factory.mktemp("trials"), parameters())


def test_the_shipped_grid_is_the_promised_one():
    shipped = BenchmarkParameters.model_validate(SHIPPED)
    grid = [cell for cell in shipped.cells() if cell.study == "strategies"]
    assert len(MODELS) * len(grid) * shipped.draws == 2 * 4 * 6 * 6 * 5
    assert len(shipped.shifts.root) == 4
    sizes = shipped.studies["set_size"].calibrations
    assert (min(map(int, sizes)), max(map(int, sizes))) == (8, 4096)


def test_the_full_environment_crosses_methods_strategies_and_its_shifts():
    conf = Path(__file__).parents[3] / "conf"
    read = OmegaConfigLoader(str(conf), env="full", **CONFIG_LOADER_ARGS)["parameters"]
    full = BenchmarkParameters.model_validate(read["benchmark"])
    shipped = BenchmarkParameters.model_validate(SHIPPED)
    assert full.shifts.root == read["stress"]
    assert {"gptq", "adaround_cpu", "brecq_cpu", "qdrop_cpu", *shipped.methods} <= set(full.methods)
    assert {cell.study for cell in full.cells()} == {"strategies"}
    strategies = {each.strategy for each in full.studies["strategies"].calibrations.values()}
    assert strategies == set(STRATEGIES)


def test_every_cell_and_draw_has_a_row_and_equal_trials_are_one(found):
    trials, answers = found
    assert len(trials) == 2 * 2 * 2 * 2 + 2 * 2 * 2
    # Six random images are the reference of both studies.
    assert len(answers) == 1 + 16 + 4
    assert answers.shape[1:] == (2, 30) and answers.dtype == np.int32
    assert trials["row"].between(1, 20).all() and not trials["error"].any()
    assert set(trials.loc[trials["study"] == "sizes", "size"]) == {4, 6}


def test_a_second_run_reads_the_store_and_gives_the_same(
    samples, images, model, tmp_path, monkeypatch
):
    first = run(samples, images, model, tmp_path, parameters())
    monkeypatch.setattr(Workload, "run", lambda *_: pytest.fail("a known trial was run again"))
    second = run(samples, images, model, tmp_path, parameters())
    pd.testing.assert_frame_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])


def test_shared_statistics_give_the_parameters_of_a_pass_of_ones_own(images, model):
    from ptq_pipeline.runtimes import build_runtime

    arguments = (model, build_runtime("simulated"), (1, 12, 12))
    shared, alone = SharedSets(*arguments), Workload(*arguments)
    for name in ("minmax", "mse"):
        method = parameters().every_method[name, "W8A2"]
        ours, theirs = (each.quantize(method, images[:6], 0) for each in (shared, alone))
        arrays = theirs.to_arrays()
        assert ours.to_arrays().keys() == arrays.keys()
        for key, array in ours.to_arrays().items():
            np.testing.assert_array_equal(array, arrays[key])


def test_only_gives_a_subset(samples, images, model, tmp_path):
    settings = parameters(only={"bits": "W8A2", "studies": ["strategies"], "shifts": ["clean"]})
    trials, answers = run(samples, images, model, tmp_path, settings)
    assert set(trials["bits"]) == {"W8A2"} and len(trials) == 8
    assert answers.shape[1] == 1
    none, empty = run(
        samples, images, model, tmp_path, parameters(only={"models": "mobilenet_v2_small"})
    )
    assert len(none) == len(empty) == 0
    with pytest.raises(InputError, match="leaves no trial"):
        nodes.analyse_benchmark(samples, DEFINITIONS, settings, none, empty)


def test_tables_and_figures(samples, found):
    none = found[0].head(0), np.zeros((0, 0, 0), np.int32)
    drops, effects, variance = nodes.analyse_benchmark(
        samples, DEFINITIONS, parameters(), *found, *none
    )
    assert len(drops) == 2 * (2 * 2 * 2 + 2 * 2) == len(variance)
    assert (drops["worst_class_low"] <= drops["worst_class_drop"]).all()
    assert (drops["worst_class_drop"] >= drops["average_drop"] - 1e-4).all()
    assert (drops["worst_draw"] >= drops["worst_class_drop"] - 1e-4).all()
    both = effects[effects["method"] == "all"]
    # Per bits and shift: hard against random, 4 against 6.
    assert len(both) == 2 * 2 * 2
    methods = effects[effects["factor"] == "method"]
    assert set(methods["level"]) == {"mse"} and set(methods["against"]) == {"minmax"}
    assert set(effects["result"]) <= {"worse", "better", "not shown"}
    assert variance["draw_share"].between(0, 1).all()
    for figure in nodes.draw_benchmark(drops, effects, parameters()):
        figure.canvas.draw()


def test_seeds_of_a_method_are_a_factor_of_their_own(samples, images, model, tmp_path):
    learned = {"name": "qdrop_cpu", "iterations": 20, "batch_size": 6, "rounding_lr": 0.3}
    study = {"reference": "random", "calibrations": {"random": {}}, "bits": ["W8A2"], "draws": 3}
    settings = parameters(
        named_methods={"learned": learned},
        studies={"seeds": {**study, "methods": ["learned"], "seeds": 2}, "plain": study},
    )
    trials, answers = run(samples, images, model, tmp_path, settings)
    seeded = trials[trials["study"] == "seeds"]
    assert seeded[["draw", "seed"]].to_numpy().tolist() == [
        [d, s] for d in range(3) for s in (0, 1)
    ]
    assert seeded["row"].is_unique and set(trials["method"]) == {"minmax", "mse", "learned"}
    assert set(trials.loc[trials["study"] == "plain", "method"]) == {"minmax", "mse"}
    none = trials.head(0), np.zeros((0, 0, 0), np.int32)
    drops, _, variance = nodes.analyse_benchmark(
        samples, DEFINITIONS, settings, trials, answers, *none
    )
    assert (drops["draws"] == 3).all()
    by_study = variance.groupby("study")
    assert by_study["seeds"].max().to_dict() == {"seeds": 2, "plain": 1}
    assert by_study["sd_between_seeds"].count().to_dict() == {"seeds": 2, "plain": 0}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bits": ["W9A8"]}, "not of the form W4A8"),
        ({"draws": 1}, "draws"),
        ({"methods": {"magic": {"name": "magic"}}}, "magic"),
        ({"only": {"methods": ["msee"]}}, r"only.methods: 'msee' is none of"),
        ({"only": {"shifts": ["contrast"]}}, "'clean' must be among them"),
        ({"shifts": {"contrast": {}}}, "clean"),
        ({"named_methods": {"mse": {}}}, "'mse' is in both"),
    ],
)
def test_bad_grids_are_refused(changes, message):
    with pytest.raises((ValidationError, InputError), match=message):
        parameters(**changes)


def test_a_study_names_its_reference_and_its_numbers():
    study = {"reference": "x", "calibrations": {"random": {}}}
    with pytest.raises(ValidationError, match="reference 'x' is none of"):
        parameters(studies={"s": study})
    with pytest.raises(ValidationError, match="could not convert"):
        parameters(studies={"s": {**study, "reference": "random", "axis": "images"}})
