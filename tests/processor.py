"""What a test asks of the processor that it runs on."""

from ptq_pipeline.core.provenance import exact_products

# The most bits whose products every kernel adds exactly. Without VNNI or dot products two products
# are added in 16 bits: at 8 bits they saturate, at 7 they cannot (2 * 255 * 64 is less than 2**15).
EXACT_BITS = 8 if exact_products() else 7
