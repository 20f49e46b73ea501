"""Model files that know bright images from dark ones, written without any toolchain."""

import flatbuffers
import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema
from onnx import TensorProto, helper, numpy_helper

SIDE = 8
# Score of class `bright` is the mean of the pixels, that of `dark` what is left of 1.
WEIGHTS = np.stack([np.full(SIDE * SIDE, 1 / SIDE**2), np.full(SIDE * SIDE, -1 / SIDE**2)])
BIAS = np.array([0.0, 1.0])


def write_onnx(path, threshold=0.5, *, inputs=1, channels_last=False, external=None):
    """Write a linear classifier that calls an image bright from a mean of ``threshold`` on."""
    shape = [None, SIDE, SIDE, 1] if channels_last else [None, 1, SIDE, SIDE]
    named = [
        helper.make_tensor_value_info(f"x{n}", TensorProto.FLOAT, shape) for n in range(inputs)
    ]
    weights = numpy_helper.from_array(WEIGHTS.T.astype(np.float32), "w")
    bias = numpy_helper.from_array((BIAS + [0, 2 * threshold - 1]).astype(np.float32), "b")
    if external:
        weights.ClearField("raw_data")
        weights.data_location = TensorProto.EXTERNAL
        entry = weights.external_data.add()
        entry.key, entry.value = "location", external
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["x0"], ["flat"]),
            helper.make_node("Gemm", ["flat", "w", "b"], ["y"]),
        ],
        "g",
        named,
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 2])],
        [weights, bias],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path.write_bytes(model.SerializeToString())


def write_tflite(path, threshold=0.5, *, integer=False, inputs=1):
    """The same as a TFLite file with one fully connected layer, in float or in int8."""
    kind = schema.TensorType.INT8 if integer else schema.TensorType.FLOAT32
    bias = BIAS + [0, 2 * threshold - 1]
    # Of an input with scale 1/255 and weights with scale 1/(64 * 127).
    scales = {"x": (1 / 255, -128), "w": (1 / (SIDE**2 * 127), 0), "y": (1 / 64, 0)}
    step = scales["x"][0] * scales["w"][0]
    if integer:
        values = {
            "w": (WEIGHTS * SIDE**2 * 127).astype(np.int8),
            "b": (bias / step).astype(np.int32),
        }
    else:
        values = {"w": WEIGHTS.astype(np.float32), "b": bias.astype(np.float32)}
    model = schema.ModelT()
    model.version, model.buffers = 3, [schema.BufferT()]
    graph = schema.SubGraphT()
    graph.tensors = []

    def add(name, shape, dtype, data=None):
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name, list(shape), dtype, 0
        if integer:
            scale, zero = scales.get(name[0], (step, 0))
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale, tensor.quantization.zeroPoint = [scale], [zero]
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(data.tobytes(), np.uint8)
            model.buffers.append(buffer)
            tensor.buffer = len(model.buffers) - 1
        graph.tensors.append(tensor)
        return len(graph.tensors) - 1

    named = [add(f"x{n}", (1, SIDE, SIDE, 1), kind) for n in range(inputs)]
    weights = add("w", values["w"].shape, kind, values["w"])
    bias_kind = schema.TensorType.INT32 if integer else kind
    offset = add("b", (2,), bias_kind, values["b"])
    output = add("y", (1, 2), kind)
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs = 0, [named[0], weights, offset]
    operator.outputs = [output]
    operator.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
    operator.builtinOptions = schema.FullyConnectedOptionsT()
    graph.operators, graph.inputs, graph.outputs = [operator], named, [output]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.FULLY_CONNECTED
    code.version = 4 if integer else 1
    model.operatorCodes, model.subgraphs = [code], [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))


def write_openvino(path, threshold=0.5):
    """The same in OpenVINO's two files."""
    from ptq_pipeline.runtimes.openvino_graph import openvino

    write_onnx(path.with_suffix(".onnx"), threshold)
    model = openvino.convert_model(path.with_suffix(".onnx"))
    openvino.save_model(model, path, compress_to_fp16=False)


def write_other_onnx(path, shape):
    """A model that gives its input back."""
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    back = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(
        [helper.make_node("ReduceSum", ["x"], ["y"], keepdims=0)], "g", [given], [back]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path)
