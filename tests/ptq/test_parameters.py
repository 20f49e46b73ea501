import numpy as np
import pytest

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.ptq import (
    ActivationParameters,
    IntegerScheme,
    LayerParameters,
    QuantizationParameters,
    WeightParameters,
)

ACTIVATION = ActivationParameters(0.25, 3, IntegerScheme(4, False))
WEIGHT = WeightParameters(
    np.array([[1, -2]], np.int8),
    np.array([0.5], np.float32),
    np.array([0], np.int32),
    IntegerScheme(2, True),
)


def test_everything_survives_the_round_trip_in_order() -> None:
    parameters = QuantizationParameters(
        {"z": LayerParameters(WEIGHT, ACTIVATION), "a": LayerParameters(WEIGHT, None)},
        overrides={"a.bias": np.array([1.5], np.float32)},
        outputs={"y": ACTIVATION, "b": ActivationParameters(1.0, 0, IntegerScheme(8, True), True)},
        notes=("layer 'a': nearest rounding kept",),
    )
    arrays = parameters.to_arrays()
    back = QuantizationParameters.from_arrays(dict(sorted(arrays.items())))
    assert list(back.layers) == ["z", "a"] and list(back.outputs) == ["y", "b"]
    assert back.layers["a"].activation is None and back.layers["z"].activation == ACTIVATION
    assert back.outputs == parameters.outputs and back.notes == parameters.notes
    np.testing.assert_array_equal(back.overrides["a.bias"], [1.5])
    np.testing.assert_array_equal(back.layers["a"].weight.codes, WEIGHT.codes)
    del arrays["y:output_scale"]
    with pytest.raises(InputError, match="array 'y:output_scale' is missing"):
        QuantizationParameters.from_arrays(arrays)
