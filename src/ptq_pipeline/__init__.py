"""Audit post-training quantization by its worst case, before a model ships."""

__version__ = "0.1.0"
