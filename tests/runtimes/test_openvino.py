import copy
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.processor import EXACT_BITS
from torch import Tensor, nn

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.models import Preprocessing
from ptq_pipeline.ptq import (
    MethodSpec,
    PreparedModel,
    QuantizationParameters,
    as_tensor_batches,
    calibrate,
    prepare,
)
from ptq_pipeline.ptq.ranges import Mse
from ptq_pipeline.runtimes import (
    OpenvinoRuntime,
    SimulatedRuntime,
    build_runtime,
    predict_top1,
)
from ptq_pipeline.runtimes.openvino import INTEGER_PRECISIONS, executed_precisions, save

Calibrated = Callable[[MethodSpec], QuantizationParameters]


@pytest.fixture(scope="module")
def runtime() -> OpenvinoRuntime:
    return OpenvinoRuntime(threads=1)


def test_the_float_model_equals_torch(
    runtime: OpenvinoRuntime,
    prepared: PreparedModel,
    pixels: np.ndarray,
    preprocessing: Preprocessing,
) -> None:
    batch = preprocessing(pixels[:50])
    predictor = runtime.compile(prepared, None)
    expected = SimulatedRuntime().compile(prepared, None)(batch)
    assert np.allclose(predictor(batch), expected, atol=1e-4)
    assert set(executed_precisions(predictor).values()) == {"f32"}


@pytest.mark.parametrize("bits", range(2, 9))
def test_every_layer_runs_on_integer_kernels(
    runtime: OpenvinoRuntime, prepared: PreparedModel, calibrated: Calibrated, bits: int
) -> None:
    predictor = runtime.compile(prepared, calibrated(MethodSpec(bits, bits)))
    precisions = executed_precisions(predictor)
    assert list(precisions) == [layer.name for layer in prepared.layers]
    assert set(precisions.values()) <= INTEGER_PRECISIONS


@pytest.mark.parametrize(
    "method",
    [
        MethodSpec(EXACT_BITS, 8),
        MethodSpec(EXACT_BITS, 4),
        MethodSpec(4, 6, Mse(), Mse()),
        MethodSpec(3, 5),
        MethodSpec(4, 4),
    ],
    ids=[f"w{EXACT_BITS}a8", f"w{EXACT_BITS}a4", "w4a6-mse", "w3a5", "w4a4"],
)
def test_answers_agree_with_the_simulation(
    runtime: OpenvinoRuntime,
    trained: PreparedModel,
    pixels: np.ndarray,
    preprocessing: Preprocessing,
    method: MethodSpec,
) -> None:
    batches = as_tensor_batches(preprocessing(pixels[-100:]))
    parameters = calibrate(trained, batches, method)
    images = pixels[:1000]
    compiled = (
        SimulatedRuntime().compile(trained, parameters),
        runtime.compile(trained, parameters),
    )
    simulated, executed = (predict_top1(each, images, preprocessing) for each in compiled)
    assert len(np.unique(simulated)) == 10
    assert (simulated == executed).mean() >= 0.995
    # The integers are the same; logits differ only where a value lies between two codes.
    first, second = (each(preprocessing(images[:250])) for each in compiled)
    assert np.median(np.abs(first - second)) < 1e-3 * first.std()


def test_trials_do_not_disturb_each_other(
    runtime: OpenvinoRuntime,
    prepared: PreparedModel,
    calibrated: Calibrated,
    pixels: np.ndarray,
    preprocessing: Preprocessing,
) -> None:
    batch = preprocessing(pixels[:30])
    fine, coarse = calibrated(MethodSpec()), calibrated(MethodSpec(2, 2))
    first = runtime.compile(prepared, fine)
    before = first(batch)
    assert not np.array_equal(runtime.compile(prepared, coarse)(batch), before)
    assert np.array_equal(first(batch), before)
    assert np.array_equal(OpenvinoRuntime(threads=1).compile(prepared, fine)(batch), before)
    # Answers of an image do not depend on which batch it is in.
    assert np.array_equal(first(batch[7:12]), before[7:12])


def test_a_saved_model_gives_the_same_answers_and_bytes(
    runtime: OpenvinoRuntime,
    prepared: PreparedModel,
    calibrated: Calibrated,
    pixels: np.ndarray,
    preprocessing: Preprocessing,
    tmp_path: Path,
) -> None:
    batch = preprocessing(pixels[:30])
    parameters = calibrated(MethodSpec(4, 4))
    predictor = runtime.compile(prepared, parameters)
    files = save(predictor, tmp_path / "model.xml")
    loaded = runtime.load(files[0])
    assert np.array_equal(loaded(batch), predictor(batch))
    assert executed_precisions(loaded) == executed_precisions(predictor)
    # Integers are stored as integers: about a quarter of the float model.
    floats = sum(value.numel() for value in prepared.module.state_dict().values())
    assert files[1].stat().st_size < 1.3 * floats
    # A second conversion starts from other counters of the process.
    other = OpenvinoRuntime(threads=1).compile(prepared, parameters)
    (tmp_path / "again").mkdir()
    again = save(other, tmp_path / "again/model.xml")
    assert [file.read_bytes() for file in files] == [file.read_bytes() for file in again]


def test_files_that_cannot_be_used(
    runtime: OpenvinoRuntime, prepared: PreparedModel, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"must end in \.xml"):
        save(runtime.compile(prepared, None), tmp_path / "model.onnx")
    with pytest.raises(InputError, match=r"model\.xml is missing"):
        runtime.load(tmp_path / "model.xml")
    (tmp_path / "model.xml").write_text("<net")
    (tmp_path / "model.bin").write_bytes(b"")
    with pytest.raises(InputError, match="cannot be read"):
        runtime.load(tmp_path / "model.xml")


class Odd(nn.Module):
    """A layer that runs twice, a grouped one, a 1x1 one without bias, and a product over rows."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, stride=4)
        self.twice = nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect")
        self.grouped = nn.Conv2d(8, 12, 3, groups=4, bias=False)
        self.rows = nn.Linear(5, 6, bias=False)
        self.head = nn.Linear(12 * 5 * 6, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        x = torch.tanh(self.twice(self.twice(x)))
        return self.head(self.rows(self.grouped(x)).flatten(1))


@pytest.fixture(scope="module")
def odd(pixels: np.ndarray, preprocessing: Preprocessing) -> Iterator[PreparedModel]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        yield prepare(Odd(), torch.from_numpy(preprocessing(pixels[:4])))


def test_shared_grouped_and_row_wise_layers(
    runtime: OpenvinoRuntime,
    odd: PreparedModel,
    pixels: np.ndarray,
    preprocessing: Preprocessing,
) -> None:
    batch = preprocessing(pixels[:100])
    parameters = calibrate(odd, [torch.from_numpy(batch)], MethodSpec(5, 6))
    predictor = runtime.compile(odd, parameters)
    expected = SimulatedRuntime().compile(odd, parameters)(batch)
    # One step of the last layer's input, where a value lies on the edge between two codes.
    last = parameters.layers["head"]
    step = last.activation.scale * float(np.abs(last.weight.dequantized()).max())
    assert np.quantile(np.abs(predictor(batch) - expected), 0.9) < step
    assert list(executed_precisions(predictor)) == [
        *("stem", "twice", "twice@2", "grouped", "rows", "head")
    ]


def test_a_weight_that_changes_in_conversion_names_the_layer(
    runtime: OpenvinoRuntime, odd: PreparedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A model of its own: one that was converted before is not converted again.
    odd = copy.copy(odd)
    changed = odd.weight("grouped") + 1.0
    real = PreparedModel.weight
    monkeypatch.setattr(
        PreparedModel,
        "weight",
        lambda self, name: changed if name == "grouped" else real(self, name),
    )
    with pytest.raises(InputError, match="weight of layer 'grouped' changed in conversion"):
        OpenvinoRuntime().compile(odd, None)


def test_importing_openvino_cannot_report_anywhere() -> None:
    code = (
        "import sys\n"
        "import ptq_pipeline.runtimes\n"
        "assert sys.modules['openvino_telemetry'] is None\n"
        "from openvino.tools.ovc.telemetry_utils import init_ovc_telemetry\n"
        "kind = type(init_ovc_telemetry()).__module__\n"
        "assert kind == 'openvino.tools.ovc.telemetry_stub', kind\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


class Scaled(nn.Module):
    """Scales beside convolutions, as in networks without normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 4)
        self.second, self.third = nn.Conv2d(8, 8, 3, bias=False), nn.Conv2d(8, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(torch.relu(self.first(x)) * 0.7) * 0.2
        return self.head((x + self.third(torch.relu(x) * 1.3)).mean((2, 3)))


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_a_scale_beside_a_layer_is_not_multiplied_into_its_weight(runtime: str) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = Scaled().eval()
    inputs = np.random.default_rng(0).normal(size=(16, 3, 12, 12)).astype(np.float32)
    scaled = prepare(module, torch.from_numpy(inputs[:2]))
    # 7 bits, which no processor saturates.
    parameters = calibrate(scaled, as_tensor_batches(inputs), MethodSpec(7, 8))
    expected = SimulatedRuntime().compile(scaled, parameters)(inputs)
    serving = build_runtime(runtime, threads=1)
    found = serving.compile(scaled, parameters)(inputs)
    # A value between two codes may go to either side.
    assert np.abs(found - expected).max() < 0.03 * np.ptp(expected)
    in_float = serving.compile(scaled, None)(inputs)
    assert in_float == pytest.approx(module(torch.from_numpy(inputs)).detach().numpy(), abs=1e-5)
