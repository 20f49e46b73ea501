"""Where images come from: sources, decoding, content hashes and splits."""

from ptq_pipeline.images.source import ImageSource, UnreadableImage

__all__ = ["ImageSource", "UnreadableImage"]
