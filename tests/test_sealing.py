"""What a run reads from earlier runs is what they wrote, with the parameters of now."""

import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from kedro.framework.hooks.manager import _create_hook_manager
from kedro.io import DataCatalog, DatasetError, MemoryDataset, SharedMemoryDataCatalog
from kedro.pipeline import Node, Pipeline
from kedro.runner import ParallelRunner
from kedro_datasets.json import JSONDataset
from kedro_datasets.pandas import ParquetDataset
from tests.hooked import run_hooked

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.group_ids import GroupDefinitions
from ptq_pipeline.core.seals import (
    Seal,
    SealError,
    break_seals,
    digest,
    read_seal,
    seal_path,
    write_seal,
)
from ptq_pipeline.datasets import ArrayDataset, ArrayFolderDataset, DocumentDataset
from ptq_pipeline.images.source import content_hashes
from ptq_pipeline.pipelines import quantization
from ptq_pipeline.run_lock import OWNER
from ptq_pipeline.sealing import (
    SealHooks,
    _gathering,
    check_acting,
    check_reading,
    parameter_hash,
    sealed_names,
)
from ptq_pipeline.stress.shifts import StressParameters

STRESS = quantization.create_pipeline().filter(node_names=["gather_audit_data", "stress_images"])

DEFINITIONS = GroupDefinitions(classes=("a",), segments={})


@pytest.fixture
def catalog(tmp_path):
    """Samples and images as `data_loading` left them, and the parameters of the shifts."""
    images = np.random.default_rng(0).integers(0, 256, (12, 1, 8, 8), dtype=np.uint8)
    samples = pd.DataFrame(
        {
            "sample_id": range(12),
            "content_hash": content_hashes(images),
            "label": 0,
            "split": ["audit", "selection"] * 6,
        }
    )
    found = DataCatalog(
        {
            "samples": ParquetDataset(filepath=(tmp_path / "samples.parquet").as_posix()),
            "images": ArrayDataset(str(tmp_path / "images.npy")),
            "profiles": ParquetDataset(filepath=(tmp_path / "profiles.parquet").as_posix()),
            "group_definitions": DocumentDataset(
                document="ptq_pipeline.core.group_ids.GroupDefinitions",
                filepath=(tmp_path / "group_definitions.json").as_posix(),
            ),
            "stressed_images": ArrayFolderDataset(str(tmp_path / "stressed")),
            "verdict": JSONDataset(filepath=(tmp_path / "verdict.json").as_posix()),
            "params:stress": MemoryDataset(StressParameters.model_validate(shifts(0.001))),
        }
    )
    for name, data, file in (
        ("samples", samples, "samples.parquet"),
        ("images", images, "images.npy"),
        ("profiles", samples[["sample_id"]], "profiles.parquet"),
        ("group_definitions", DEFINITIONS, "group_definitions.json"),
    ):
        found.save(name, data)
        path = tmp_path / file
        write_seal(path, Seal(content=digest(path), node="decode", parameters={}, inputs={}))
    return found


def shifts(sigma):
    return {"clean": {}, "noise": {"kind": "gaussian_noise", "sigma": sigma}}


def run(pipeline, catalog, runner=None, hooks=None, sigma=0.001):
    catalog["params:stress"] = MemoryDataset(StressParameters.model_validate(shifts(sigma)))
    run_hooked(hooks or SealHooks(), pipeline, catalog, {"stress": shifts(sigma)}, runner)


def test_what_crosses_nodes_is_sealed():
    assert {"samples", "images", "stressed_images", "trials", "predictions"} <= sealed_names()
    assert {"scores", "verdict", "decision", "candidate_model"} <= sealed_names()
    assert not {"trial_store", "audit_ledger", "champion_baseline", "registry"} & sealed_names()


def test_a_seal_says_what_a_dataset_was_made_from(catalog, tmp_path):
    run(STRESS, catalog)
    seal = read_seal(tmp_path / "stressed")
    assert seal.content == digest(tmp_path / "stressed")
    assert seal.node == "stress_images"
    assert set(seal.parameters) == {"params:stress"}
    assert seal.inputs == {
        "samples": digest(tmp_path / "samples.parquet"),
        "images": digest(tmp_path / "images.npy"),
        "profiles": digest(tmp_path / "profiles.parquet"),
        "group_definitions": digest(tmp_path / "group_definitions.json"),
    }
    first = seal_path(tmp_path / "stressed").read_bytes()
    run(STRESS, catalog)
    assert seal_path(tmp_path / "stressed").read_bytes() == first
    check_reading(catalog, ["stressed_images"], {"stress": shifts(0.001)})


def test_images_of_another_strength_are_not_read(catalog):
    run(STRESS, catalog)
    now = {"stress": shifts(0.4)}
    with pytest.raises(SealError, match="'stressed_images' .* other parameters 'stress'"):
        check_reading(catalog, ["stressed_images"], now)
    run(STRESS, catalog, sigma=0.4)
    check_reading(catalog, ["stressed_images"], now)


def test_changed_pixels_stop_the_run_before_anything_is_computed(catalog, tmp_path):
    run(STRESS, catalog)
    kept = (tmp_path / "images.npy").read_bytes()
    (tmp_path / "images.npy").write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    with pytest.raises(SealError, match=r"'images' .*images.npy.* was changed after node"):
        run(STRESS, catalog)
    assert read_seal(tmp_path / "stressed") is not None
    (tmp_path / "images.npy").write_bytes(kept)
    run(STRESS, catalog)


def test_pixels_that_change_during_the_run_stop_it(catalog, tmp_path):
    hooks = SealHooks()
    check = hooks.before_dataset_loaded
    manager = _create_hook_manager()
    manager.register(hooks)
    arguments = {"run_params": {}, "pipeline": STRESS, "catalog": catalog}
    manager.hook.before_pipeline_run(**arguments)
    node = STRESS.nodes[0]
    check("images", node)
    np.load(tmp_path / "images.npy", mmap_mode="r+")[0] ^= 1
    with pytest.raises(SealError, match="'images' .* was changed"):
        check("images", node)
    manager.hook.on_pipeline_error(**arguments, error=None)


def test_what_a_failed_run_did_not_come_to_write_stays_usable(catalog, tmp_path):
    run(STRESS, catalog)
    first = seal_path(tmp_path / "stressed").read_bytes()
    whole, path = catalog.load("samples"), tmp_path / "samples.parquet"
    for table in (whole.drop(columns="content_hash"), whole):
        catalog.save("samples", table)
        write_seal(path, Seal(content=digest(path), node="decode", parameters={}, inputs={}))
        if "content_hash" not in table:
            with pytest.raises(KeyError):
                run(STRESS, catalog)
    assert seal_path(tmp_path / "stressed").read_bytes() == first
    check_reading(catalog, ["stressed_images"], {"stress": shifts(0.001)})


def test_a_killed_run_leaves_nothing_usable_that_it_was_about_to_make(catalog, tmp_path):
    run(STRESS, catalog)
    hooks = SealHooks()
    hooks.before_pipeline_run({}, STRESS, catalog)
    with pytest.raises(SealError, match="'stressed_images' .* is of an earlier run"):
        check_reading(catalog, ["stressed_images"], {"stress": shifts(0.001)})
    hooks._lock.release()


def test_a_failed_run_takes_the_decision_of_the_one_before(catalog, tmp_path):
    def decide(verdict):
        raise ValueError("no decision")

    decide.__module__ = "ptq_pipeline.pipelines.promotion.nodes"
    path = tmp_path / "decision.json"
    catalog["decision"] = JSONDataset(filepath=path.as_posix())
    for name in ("verdict", "decision"):
        catalog.save(name, {})
        place = tmp_path / f"{name}.json"
        write_seal(place, Seal(content=digest(place), node=name, parameters={}, inputs={}))
    check_acting(catalog, "decision")
    with pytest.raises(ValueError, match="no decision"):
        run(Pipeline([Node(decide, "verdict", "decision")]), catalog)
    with pytest.raises(SealError, match="'decision' .* is of an earlier run"):
        check_acting(catalog, "decision")


def test_a_command_takes_what_git_brought_and_nothing_of_another_run(catalog, tmp_path):
    catalog.save("verdict", {"result": "PASS"})
    check_acting(catalog, "verdict")
    run(STRESS, catalog)
    path, stressed = tmp_path / "verdict.json", tmp_path / "stressed"
    made_from = {"stressed_images": digest(stressed)}
    write_seal(path, Seal(content=digest(path), node="judge", parameters={}, inputs=made_from))
    check_acting(catalog, "verdict")
    run(STRESS, catalog, sigma=0.4)
    with pytest.raises(SealError, match="'verdict' .* was made from another 'stressed_images'"):
        check_acting(catalog, "verdict")
    break_seals([stressed])
    with pytest.raises(SealError, match="'verdict' was made from 'stressed_images' .* not end"):
        check_acting(catalog, "verdict")


def test_what_worker_processes_save_is_sealed_in_the_end(catalog, tmp_path):
    shared = SharedMemoryDataCatalog({name: catalog.get(name) for name in catalog.keys()})
    run(STRESS, shared, ParallelRunner(max_workers=1))
    check_reading(catalog, ["stressed_images"], {"stress": shifts(0.001)})


def test_the_second_run_at_once_names_the_first(catalog, tmp_path):
    first, second = SealHooks(), SealHooks()
    arguments = {"run_params": {}, "pipeline": STRESS, "catalog": catalog}
    first.before_pipeline_run(**arguments)
    with pytest.raises(InputError, match=r"\(process \d+ on .*, started .*\) is running in"):
        second.before_pipeline_run(**arguments)
    first.after_pipeline_run()
    assert not (tmp_path / OWNER).exists()
    run(STRESS, catalog, hooks=second)


def test_a_killed_run_leaves_no_lock(catalog, tmp_path):
    code = (
        "import os, sys; from filelock import FileLock\n"
        "lock = FileLock(sys.argv[1]); lock.acquire()\n"
        "os.kill(os.getpid(), 9)"
    )
    lock = tmp_path / ".run.lock"
    subprocess.run([sys.executable, "-c", code, str(lock)], check=False, timeout=60)
    (tmp_path / OWNER).write_text("somebody")
    run(STRESS, catalog)
    assert not (tmp_path / OWNER).exists()


def test_settings_that_decide_nothing_are_no_other_parameters():
    def hashed(**group):
        return parameter_hash({"shop": {"quantization": group}}, "params:shop.quantization")

    assert hashed(method={"weight_bits": 8}) == hashed(
        method={"weight_bits": 8}, executor={"kind": "process", "workers": 2}
    )
    assert hashed(method={"weight_bits": 8}) != hashed(method={"weight_bits": 4})
    assert parameter_hash({"shop": {}}, "params:shop.quantization") is None


def test_datasets_of_a_host_may_have_the_names_of_ours(catalog, tmp_path):
    own = Pipeline(
        [
            Node(len, "trials", "counted", name="count"),
            Node(lambda table: table, "float_predictions", "copied", name="copy"),
        ]
    )
    for name in ("trials", "float_predictions"):
        path = (tmp_path / f"{name}.json").as_posix()
        catalog[name] = JSONDataset(filepath=path)
        catalog.save(name, {"a host": "wrote this"})
    run(own, catalog)
    run(own + STRESS, catalog)
    check_reading(catalog, ["stressed_images"], {"stress": shifts(0.001)})


def test_a_seal_of_a_file_that_is_gone_goes_with_the_next_run(catalog, tmp_path):
    run(STRESS, catalog)
    shutil.rmtree(tmp_path / "stressed")
    break_seals([tmp_path / "stressed"])
    assert read_seal(tmp_path / "stressed") is None


def test_a_run_that_starts_in_the_middle_gathers_what_stays_in_memory(
    catalog, tmp_path, monkeypatch
):
    monkeypatch.setattr("ptq_pipeline.sealing.project_pipelines", {"quantization": STRESS})
    middle, images = STRESS.only_nodes("stress_images"), catalog.load("images").copy()
    np.save(tmp_path / "images.npy", np.zeros_like(images))
    with pytest.raises(SealError, match="'images' .* was changed"):
        run(middle, catalog)
    np.save(tmp_path / "images.npy", images)
    run(middle, catalog)
    assert set(read_seal(tmp_path / "stressed").inputs) == {
        *("samples", "images", "profiles", "group_definitions")
    }


def test_what_cannot_be_gathered_leaves_every_seal_as_it_is(catalog, tmp_path, monkeypatch):
    monkeypatch.setattr("ptq_pipeline.sealing.project_pipelines", {"quantization": STRESS})
    run(STRESS, catalog)
    first = seal_path(tmp_path / "stressed").read_bytes()
    (tmp_path / "profiles.parquet").unlink()
    later = DataCatalog(
        {each: catalog.get(each) for each in catalog.keys() if each != "audit_data"}
    )
    with pytest.raises(DatasetError, match="profiles"):
        run(STRESS.only_nodes("stress_images"), later)
    assert seal_path(tmp_path / "stressed").read_bytes() == first


def test_what_is_stored_is_not_made_again_by_a_run_that_starts_in_the_middle(catalog, monkeypatch):
    """In memory it would replace the stored one, whose seal is broken already."""
    (stressing,) = STRESS.only_nodes("stress_images").nodes
    both = Node(stressing.func, ["audit_data", "params:stress"], ["stressed_images", "counts"])
    monkeypatch.setattr("ptq_pipeline.sealing.project_pipelines", {"x": Pipeline([both])})
    behind = Pipeline([Node(len, "counts", "counted")])
    assert not _gathering(behind, catalog).nodes
    # Part of it would be gathered in vain: the run ends with what Kedro says is missing.
    monkeypatch.setattr(
        "ptq_pipeline.sealing.project_pipelines", {"x": Pipeline([both]), "y": STRESS}
    )
    behind += Pipeline([Node(len, "audit_data", "images_counted")])
    assert not _gathering(behind, catalog).nodes
