import shutil
from collections import namedtuple
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.models import Preprocessing, resnet20
from ptq_pipeline.ptq import (
    MethodSpec,
    activations_from,
    as_tensor_batches,
    calibrate,
    prepare,
)
from ptq_pipeline.ptq import image_statistics as module
from ptq_pipeline.ptq.image_statistics import ImageRows, ImageStatistics, StatisticsError
from ptq_pipeline.ptq.ranges import Mse, Percentile

PREPROCESSING = Preprocessing((0.5,), (0.3,))


@pytest.fixture(scope="module")
def prepared():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = resnet20(classes=3).train()
        with torch.no_grad():
            model(torch.randn(16, 1, 12, 12))
    return prepare(model, torch.randn(2, 1, 12, 12, generator=torch.Generator().manual_seed(0)))


@pytest.fixture(scope="module")
def pool():
    noise = np.random.default_rng(0).normal(128, 50, (150, 1, 12, 12))
    return noise.clip(0, 255).astype(np.uint8)


@pytest.fixture
def statistics(prepared, pool, tmp_path):
    return ImageStatistics(tmp_path, "model", prepared, PREPROCESSING, pool)


def _ends(statistics):
    return statistics.minimum, statistics.maximum


def assert_equal(one, other):
    assert list(one) == list(other)
    assert all(_ends(one[name]) == _ends(other[name]) for name in one)


def direct(prepared, images, method):
    layers = calibrate(prepared, as_tensor_batches(PREPROCESSING(images)), method).layers
    return {name: layer.activation for name, layer in layers.items()}


@pytest.mark.parametrize("size", [2, 31, 33, 64, 97])
def test_ranges_equal_those_of_forward_passes_exactly(prepared, pool, statistics, size):
    method = MethodSpec()
    chosen = pool[np.random.default_rng(size).permutation(150)[:size]]
    reduced = activations_from(statistics.reduce(chosen), method)
    assert reduced == direct(prepared, chosen, method)


@pytest.mark.parametrize("estimator", [Percentile(99.9), Mse(2.0)])
@pytest.mark.parametrize("bits", [4, 8])
def test_other_estimators_agree_within_the_resolution_of_the_grid(
    prepared, pool, statistics, estimator, bits
):
    method = MethodSpec(activation_bits=bits, activation_range=estimator)
    chosen = pool[np.random.default_rng(7).permutation(150)[:64]]
    reduced = activations_from(statistics.reduce(chosen, histograms=True), method)
    expected = direct(prepared, chosen, method)
    for name, grid in zip(statistics.places, statistics.grids, strict=True):
        levels = 2**bits - 1
        # Both ends may move by a bin, and the search over shares by one share (1 %).
        allowed = 2 * grid.width / levels + 0.011 * expected[name].scale
        assert abs(reduced[name].scale - expected[name].scale) <= allowed


def test_a_grid_over_the_set_itself_gives_the_counts_of_forward_passes(prepared, pool, tmp_path):
    from ptq_pipeline.ptq import collect_statistics

    own = ImageStatistics(tmp_path, "model", prepared, PREPROCESSING, pool[:64])
    expected = collect_statistics(prepared, as_tensor_batches(PREPROCESSING(pool[:64])), True)
    for name, found in own.reduce(pool[:64], histograms=True).items():
        np.testing.assert_array_equal(found.histogram.counts, expected[name].histogram.counts)
        assert _ends(found) == _ends(expected[name])


def test_each_image_is_computed_once_and_kept(prepared, pool, statistics, tmp_path, monkeypatch):
    statistics.add([pool[:40], pool[20:60], pool[:60]])
    again = ImageStatistics(tmp_path, "model", prepared, PREPROCESSING)
    monkeypatch.setattr(module, "observe_inputs", None)
    assert sum(len(part) for part in again._ranges._segments) == 60
    again.add([pool[10:60]])


def test_augmented_images_are_further_rows(prepared, pool, statistics):
    statistics.add([pool[:40]])
    brighter = np.clip(pool[:40].astype(int) + 40, 0, 255).astype(np.uint8)
    reduced = activations_from(statistics.reduce(brighter), MethodSpec())
    assert reduced == direct(prepared, brighter, MethodSpec())


def test_rows_of_a_mapped_array_are_read_as_asked(pool):
    rows = ImageRows(pool, np.array([5, 3, 9]))
    assert len(rows) == 3
    np.testing.assert_array_equal(rows[1], pool[3])
    np.testing.assert_array_equal(rows[1:], pool[[3, 9]])


def test_another_model_has_rows_of_its_own(prepared, tmp_path):
    one = ImageStatistics(tmp_path, "model", prepared, PREPROCESSING)
    other = ImageStatistics(tmp_path, "other", prepared, PREPROCESSING)
    assert one.folder != other.folder


@pytest.mark.parametrize("harm", ["cut", "changed", "gone"])
def test_damaged_files_are_reported_and_computed_again(
    prepared, pool, statistics, tmp_path, caplog, harm
):
    expected = statistics.reduce(pool[:40])
    (path,) = statistics.folder.glob("ranges.*.rows")
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.unlink()
    if harm != "gone":
        path.write_bytes(content[:-8] if harm == "cut" else content)
    again = ImageStatistics(tmp_path, "model", prepared, PREPROCESSING)
    assert "damaged" in caplog.text
    assert_equal(again.reduce(pool[:40]), expected)


def test_a_full_disk_is_a_clear_error_before_anything_is_written(statistics, pool, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1, 1, 100))
    with pytest.raises(InputError, match=r"no space for the statistics file '.*ranges"):
        statistics.add([pool])
    assert not list(statistics.folder.glob("ranges*"))


def test_a_disk_that_fills_up_while_writing_is_the_same_error(statistics, pool, monkeypatch):
    def full(self, keys, parts):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module._Table, "_write", full)
    with pytest.raises(InputError, match="no space for the statistics file"):
        statistics.add([pool])


def test_without_a_pool_there_is_no_grid(prepared, pool, tmp_path):
    bare = ImageStatistics(tmp_path, "model", prepared, PREPROCESSING)
    with pytest.raises(InputError, match="need a pool"):
        bare.reduce(pool[:4], histograms=True)


def test_values_that_are_not_finite_name_the_layer(prepared, pool, tmp_path):
    broken = ImageStatistics(
        tmp_path, "model", prepared, lambda images: np.full(images.shape, np.inf, np.float32)
    )
    with pytest.raises(StatisticsError, match="'conv1'"):
        broken.add([pool[:2]])


class Mixing(nn.Module):
    """Subtracts the mean image of the batch."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3)
        self.last = nn.Linear(4, 3)

    def forward(self, images):
        return self.last(self.first(images - images.mean(0, keepdim=True)).mean((2, 3)))


def test_a_model_that_mixes_the_images_of_a_batch_is_noticed(prepared, tmp_path, statistics):
    assert statistics.separable()
    mixing = prepare(Mixing(), torch.zeros(2, 1, 12, 12))
    order = ImageStatistics(tmp_path, "mixing", mixing, PREPROCESSING)
    assert not order.separable()


@pytest.mark.slow
def test_ranges_of_ten_thousand_images_stay_under_a_gigabyte(tmp_path):
    import subprocess
    import sys

    code = f"""
import numpy as np, torch
from pathlib import Path
from ptq_pipeline.models import Preprocessing, resnet20
from ptq_pipeline.ptq import prepare
from ptq_pipeline.ptq.image_statistics import ImageStatistics
torch.set_num_threads(1)
images = np.random.default_rng(0).integers(0, 256, (10_000, 1, 28, 28), np.uint8)
prepared = prepare(resnet20(), torch.zeros(2, 1, 28, 28))
found = ImageStatistics(Path({str(tmp_path)!r}), "m", prepared, Preprocessing((0.3,), (0.3,)))
found.reduce(images)
lines = Path("/proc/self/status").read_text().splitlines()
print(next(line.split()[1] for line in lines if line.startswith("VmHWM")))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 1_000_000


def test_identity_holds_what_changes_the_numbers(statistics):
    assert {"model", "engine", "torch", "cpu_flags", "places"} <= set(statistics.identity)
    assert replace(MethodSpec(), weight_bits=4).reducible
