import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.ptq import IntegerScheme
from ptq_pipeline.ptq.quantizer import choose_qparams, dequantize, fake_quantize, quantize

BITS = st.integers(2, 8)
# Up to a hundred thousand steps beyond the range: torch's kernel casts codes to integers unclamped.
VALUES = st.floats(-100, 100, width=32, allow_subnormal=False)
TENSORS = arrays(np.float32, (3, 4, 2), elements=VALUES)


def _range_of(values: torch.Tensor, share: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Leave out a part of the range, so that values are clipped."""
    return values.amin() * share, values.amax() * share


@given(bits=BITS, symmetric=st.booleans())
def test_bits_give_that_many_codes_in_eight_bit_storage(bits: int, symmetric: bool) -> None:
    scheme = IntegerScheme(bits, symmetric)
    assert scheme.qmax - scheme.qmin + 1 == 2**bits
    info = torch.iinfo(scheme.dtype)
    assert info.min <= scheme.qmin and scheme.qmax <= info.max


@pytest.mark.parametrize("bits", [1, 9, 4.0, True, "8"])
def test_unsupported_bits_are_refused(bits: object) -> None:
    with pytest.raises(InputError, match="2 to 8"):
        IntegerScheme(bits, symmetric=True)  # type: ignore[arg-type]


@settings(max_examples=200, deadline=None)
@given(values=TENSORS, bits=BITS, symmetric=st.booleans(), share=st.floats(0.1, 1.0))
def test_per_tensor_equals_torch_bit_for_bit(
    values: np.ndarray, bits: int, symmetric: bool, share: float
) -> None:
    x = torch.from_numpy(values)
    scheme = IntegerScheme(bits, symmetric)
    qparams = choose_qparams(*_range_of(torch.cat([x.flatten(), torch.zeros(1)]), share), scheme)
    expected = torch.fake_quantize_per_tensor_affine(
        x, float(qparams.scale), int(qparams.zero_point), scheme.qmin, scheme.qmax
    )
    assert torch.equal(dequantize(quantize(x, qparams), qparams), expected)
    assert torch.equal(fake_quantize(x, qparams), expected)


@settings(max_examples=200, deadline=None)
@given(values=TENSORS, bits=BITS, symmetric=st.booleans(), share=st.floats(0.1, 1.0))
def test_per_channel_equals_torch_bit_for_bit(
    values: np.ndarray, bits: int, symmetric: bool, share: float
) -> None:
    x = torch.from_numpy(values)
    scheme = IntegerScheme(bits, symmetric)
    rows = x.reshape(3, -1)
    qparams = choose_qparams(rows.amin(1) * share, rows.amax(1).clamp(min=0), scheme)
    expected = torch.fake_quantize_per_channel_affine(
        x, qparams.scale, qparams.zero_point, 0, scheme.qmin, scheme.qmax
    )
    assert torch.equal(dequantize(quantize(x, qparams), qparams), expected)
    assert torch.equal(fake_quantize(x, qparams), expected)


@given(low=VALUES, high=VALUES, bits=BITS, symmetric=st.booleans())
def test_zero_is_exact_and_the_range_is_covered_to_half_a_step(
    low: float, high: float, bits: int, symmetric: bool
) -> None:
    low, high = min(low, high), max(low, high)
    qparams = choose_qparams(torch.tensor(low), torch.tensor(high), IntegerScheme(bits, symmetric))
    ends = torch.tensor([0.0, low, high])
    error = (dequantize(quantize(ends, qparams), qparams) - ends).abs()
    assert error[0] == 0.0
    if low != high:
        assert bool((error <= 0.501 * qparams.scale).all())


def test_halves_round_to_even_before_the_zero_point_is_added() -> None:
    scheme = IntegerScheme(4, symmetric=False)
    # The range [-3, 12] has the step 1 and the odd zero point 3.
    qparams = choose_qparams(torch.tensor(-3.0), torch.tensor(12.0), scheme)
    codes = quantize(torch.tensor([-1.5, -0.5, 0.5, 1.5, 2.5, 99.0, -99.0]), qparams)
    assert codes.tolist() == [1, 3, 3, 5, 5, 15, 0]


def test_a_range_of_zeros_has_the_step_one() -> None:
    zero = torch.tensor(0.0)
    qparams = choose_qparams(zero, zero, IntegerScheme(8, symmetric=False))
    assert float(qparams.scale) == 1.0
    assert int(qparams.zero_point) == 0


@pytest.mark.parametrize("bounds", [(float("nan"), 1.0), (0.0, float("inf")), (2.0, 1.0)])
def test_impossible_ranges_are_refused(bounds: tuple[float, float]) -> None:
    low, high = map(torch.tensor, bounds)
    with pytest.raises(InputError, match="range has"):
        choose_qparams(low, high, IntegerScheme(8, symmetric=False))


def test_gradient_is_straight_through_inside_the_range_and_zero_outside() -> None:
    qparams = choose_qparams(torch.tensor(0.0), torch.tensor(1.0), IntegerScheme(2, False))
    x = torch.tensor([0.4, 3.0], requires_grad=True)
    fake_quantize(x, qparams).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [1.0, 0.0]


@given(bits=BITS, scale=st.floats(1e-3, 1e3), uneven=st.floats(-9e-4, 9e-4))
def test_an_even_grid_around_zero_is_on_no_edge_between_codes(
    bits: int, scale: float, uneven: float
) -> None:
    # Pixels that were normalised by a mean of 0.5: every one was halfway between two codes.
    pixels = torch.arange(256, dtype=torch.float64) - 127.5
    values = (pixels + uneven * 255 / 2**bits) * scale
    scheme = IntegerScheme(bits, symmetric=False)
    qparams = choose_qparams(values.amin().float(), values.amax().float(), scheme)
    at = values / qparams.scale.double()
    assert ((at - at.floor() - 0.5).abs() > 1e-4).all()
    # It costs at most a 254th of a step.
    error = (dequantize(quantize(values.float(), qparams), qparams) - values).abs().amax()
    assert error <= (values.amax() - values.amin()) / (2**bits - 1) * 0.51
