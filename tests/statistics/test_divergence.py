import numpy as np
import pytest

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.statistics.divergence import output_divergence


def test_divergence_is_zero_for_equal_outputs_and_grows():
    logits = np.random.default_rng(1).normal(size=(100, 5))
    groups = np.repeat(["a", "b"], 50)
    changed = logits.copy()
    changed[groups == "b"] *= 0.5
    found = output_divergence(logits, changed, groups).set_index("group")
    assert found.loc["a", "mean"] == 0 and found.loc["b", "mean"] > 0
    assert found.loc["b", "largest"] >= found.loc["b", "mean"]
    # A constant added to all logits of a sample changes no output.
    assert output_divergence(logits, logits + 3, groups)["largest"].max() < 1e-12


def test_logits_that_were_not_kept_are_an_error():
    logits = np.zeros((2, 2))
    with pytest.raises(InputError, match="the quantized ones were not kept"):
        output_divergence(logits, None, np.array(["a", "b"]))
    with pytest.raises(InputError, match="must agree"):
        output_divergence(logits, logits[:1], np.array(["a", "b"]))
