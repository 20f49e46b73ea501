import threading

import numpy as np
import pytest

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.runtimes import (
    OpenvinoRuntime,
    Predictor,
    Runtime,
    SimulatedRuntime,
    build_runtime,
    predict_top1,
)


def _as_float(images: np.ndarray) -> np.ndarray:
    return images.astype(np.float32)


class BrightestColumn:
    """Answers with the column of the largest pixel of a 1-row image; remembers batch sizes."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        assert batch.dtype == np.float32
        self.sizes.append(len(batch))
        return np.where(batch == 255, np.nan, batch).reshape(len(batch), -1)


@pytest.fixture
def images() -> np.ndarray:
    generator = np.random.default_rng(0)
    return generator.integers(0, 255, (23, 1, 1, 5), dtype=np.uint8)


def test_every_image_is_predicted_in_batches(images: np.ndarray) -> None:
    predictor = BrightestColumn()
    top1 = predict_top1(predictor, images, _as_float, batch_size=10)
    assert top1.dtype == np.int32
    assert np.array_equal(top1, images.reshape(23, 5).argmax(1))
    assert predictor.sizes == [10, 10, 3]


def test_rows_are_predicted_in_their_order(images: np.ndarray) -> None:
    rows = np.array([5, 0, 22, 5])
    top1 = predict_top1(BrightestColumn(), images, _as_float, batch_size=3, rows=rows)
    assert np.array_equal(top1, images.reshape(23, 5).argmax(1)[rows])
    assert len(predict_top1(BrightestColumn(), images, _as_float, rows=rows[:0])) == 0


def test_nan_logits_name_the_image(images: np.ndarray) -> None:
    images[17, 0, 0, 2] = 255
    with pytest.raises(InputError, match="NaN logits for image 17"):
        predict_top1(BrightestColumn(), images, _as_float, batch_size=4)
    with pytest.raises(InputError, match="NaN logits for image 17"):
        predict_top1(BrightestColumn(), images, _as_float, rows=np.array([3, 17]))


def test_batches_run_side_by_side_on_streams(images: np.ndarray) -> None:
    class OnStreams(BrightestColumn):
        streams = 2

    class TwoAtATime(OnStreams):
        together = threading.Barrier(2, timeout=20)

        def __call__(self, batch: np.ndarray) -> np.ndarray:
            self.together.wait()
            return super().__call__(batch)

    top1 = predict_top1(TwoAtATime(), images[:20], _as_float, batch_size=5)
    assert np.array_equal(top1, images[:20].reshape(20, 5).argmax(1))
    images[[7, 17], 0, 0, 2] = 255
    with pytest.raises(InputError, match="NaN logits for image 7;"):
        predict_top1(OnStreams(), images[:20], _as_float, batch_size=2)


def test_runtimes_are_built_by_name() -> None:
    for name, kind in (("simulated", SimulatedRuntime), ("openvino", OpenvinoRuntime)):
        runtime = build_runtime(name, device="cpu", threads=1)
        assert isinstance(runtime, kind) and isinstance(runtime, Runtime)
        description = runtime.description()
        assert description["name"] == name
        assert description["version"] == runtime.version
        assert description["threads"] == 1
        assert description["cpu_flags"]
    assert isinstance(BrightestColumn(), Predictor)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "tensorrt",
            {},
            r"unknown runtime 'tensorrt'; allowed are \['external', 'onnxruntime', 'openvino', '",
        ),
        ("openvino", {"device": "cuda"}, "runs on the cpu only, got device 'cuda'"),
        ("openvino", {"threads": 0}, "threads must be at least 1"),
        ("simulated", {"threads": 0}, "threads must be at least 1"),
        ("simulated", {"device": "abacus"}, "device 'abacus'"),
    ],
)
def test_bad_options_are_refused(name: str, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_runtime(name, **options)


def test_more_classes_than_16_bits_hold(images: np.ndarray) -> None:
    def last_class(batch: np.ndarray) -> np.ndarray:
        logits = np.zeros((len(batch), 70_000), np.float32)
        logits[:, -1] = 1.0
        return logits

    assert set(predict_top1(last_class, images[:3], _as_float)) == {69_999}
