import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptq_pipeline.statistics.envelope import GRID, Envelope


@given(
    edge=st.floats(0.02, 0.9),
    steep=st.floats(1.0, 60.0),
    low=st.floats(0.0, 1.0),
    high=st.floats(0.0, 1.0),
    share=st.floats(0.0, 1.0),
)
def test_no_law_with_that_mean_has_a_larger_mean(edge, steep, low, high, share):
    def rising(a):
        return 1 / (1 + np.exp(-steep * (a - edge)))

    envelope = Envelope.of(rising(GRID))
    mean = share * low + (1 - share) * high
    reached = share * rising(low) + (1 - share) * rising(high)
    assert reached <= envelope.largest_mean(mean) + 1e-4


def test_a_concave_function_is_its_own_envelope():
    envelope = Envelope.of(np.sqrt(GRID))
    assert envelope.largest_mean(0.3) == pytest.approx(np.sqrt(0.3), abs=1e-5)
    assert envelope.mean_for(0.5) == pytest.approx(0.25, abs=1e-5)


def test_what_no_mean_can_keep_is_zero():
    assert Envelope.of(0.2 + 0.8 * GRID).mean_for(0.1) == 0.0
