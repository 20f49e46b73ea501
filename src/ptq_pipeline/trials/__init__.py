"""A trial is one quantized model, evaluated: identity, execution and where results are kept."""
