"""What a test asks of the processor that it runs on."""

import pytest

from ptq_pipeline.core.provenance import exact_products


def needs_exact_products(bits: int = 8) -> None:
    """Skip a test of 8-bit weights where sums of two products saturate, as on AVX2 without VNNI.

    Seven bits cannot: 2 * 255 * 64 is less than 2**15.
    """
    if bits == 8 and not exact_products():
        pytest.skip("8-bit products saturate on this processor: no VNNI or dot products")
