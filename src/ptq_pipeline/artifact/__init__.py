"""The model that ships: here the names of its files, in `loading` what reads and serves them.

Listing pipelines needs the names and need not wait for torch.
"""

from collections.abc import Collection

PARAMETERS = "quantization.safetensors"
GRAPH = "model.xml"
WEIGHTS = "model.bin"
ONNX = "model.onnx"
# What a command of somebody else wrote, for a command to run.
BLOB = "model.blob"
# What each runtime serves of a model of our own, the file to load first.
SERVED_FILES: dict[str, tuple[str, ...]] = {
    "openvino": (GRAPH, WEIGHTS),
    "onnxruntime": (ONNX,),
    "simulated": (PARAMETERS,),
    "external": (ONNX,),
}
# Of what a trial says of its runtime, what an equal one is built from.
RUNTIME_OPTIONS = {
    "openvino": ("threads",),
    "onnxruntime": ("threads", "optimization", "opset"),
    "simulated": ("device",),
}


def served_names(names: Collection[str], runtime: str) -> tuple[str, ...]:
    """Return which of an artifact's files a runtime loads, the one to load first."""
    if PARAMETERS in names:
        return SERVED_FILES[runtime]
    # A file that another tool wrote is the only one.
    return tuple(name for name in (GRAPH, WEIGHTS, ONNX, BLOB) if name in names)
