import numpy as np
import pytest

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.ptq import method_from_json
from ptq_pipeline.routines.repair.search import SharedRounding
from ptq_pipeline.runtimes import build_runtime
from ptq_pipeline.trials.workload import Workload

SHAPE = (1, 12, 12)
IMAGES = np.random.default_rng(0).integers(0, 256, (33, *SHAPE), dtype=np.uint8)


@pytest.mark.parametrize(
    "values",
    [
        {"name": "gptq", "corrections": ["output_matching"]},
        {"name": "gptq", "corrections": ["bias_correction"], "activation_bits": 4},
        {"activation_range": "mse", "corrections": ["batch_norm_reestimation"]},
        {"corrections": ["cross_layer_equalization", "output_matching"]},
    ],
)
def test_what_is_rounded_once_is_what_each_recipe_makes_alone(random_model, values):
    method = method_from_json({"weight_bits": 4, **values})
    shared = SharedRounding(random_model, build_runtime("simulated"), SHAPE)
    shared.quantize(method_from_json(method.to_json() | {"name": method.name, "corrections": []}),
                    IMAGES, 5)  # fmt: skip
    found = shared.quantize(method, IMAGES, 7).to_arrays()
    alone = Workload(random_model, build_runtime("simulated"), SHAPE).quantize(method, IMAGES, 7)
    wanted = alone.to_arrays()
    assert list(found) == list(wanted)
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_a_method_that_crashes_is_a_failed_trial(random_model, monkeypatch):
    def crash(self, method, images, seed):
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(Workload, "quantize", crash)
    shared = SharedRounding(random_model, build_runtime("simulated"), SHAPE)
    with pytest.raises(InputError, match="method gptq failed with ZeroDivisionError: division"):
        shared.quantize(method_from_json({"name": "gptq"}), IMAGES, 1)
