"""The artifact that ships: a quantized model as one ONNX file in QDQ form.

QDQ form: a float graph with QuantizeLinear and DequantizeLinear where the engine quantizes. What
the file holds and what a consumer must support is said in its metadata, see `metadata_of`.
"""

from ptq_pipeline.ptq.export.facts import metadata_of, require_one_file
from ptq_pipeline.ptq.export.float_graph import DEFAULT_OPSET, INPUT, OUTPUT, float_graph
from ptq_pipeline.ptq.export.qdq import export_onnx, quantized_graph

__all__ = [
    "DEFAULT_OPSET",
    "INPUT",
    "OUTPUT",
    "export_onnx",
    "float_graph",
    "metadata_of",
    "quantized_graph",
    "require_one_file",
]
