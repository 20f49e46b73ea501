"""Where images come from: sources, decoding, content hashes and splits."""

from ptq_pipeline.images.content import content_hashes, content_keys
from ptq_pipeline.images.labels import encode_labels
from ptq_pipeline.images.source import DecodedImages, ImageSource, UnreadableImage, decode_source
from ptq_pipeline.images.splits import assign_splits, check_split_names, check_splits

__all__ = [
    "DecodedImages",
    "ImageSource",
    "UnreadableImage",
    "assign_splits",
    "check_split_names",
    "check_splits",
    "content_hashes",
    "content_keys",
    "decode_source",
    "encode_labels",
]
