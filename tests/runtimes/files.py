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
    layer = WEIGHTS, BIAS + [0, 2 * threshold - 1]
    scales = [(1 / 255, -128), (1 / 64, 0)] if integer else None
    write_tflite_network(path, [layer], (SIDE, SIDE, 1), scales, inputs=inputs)


def _operation(weights, sides, integer):
    """The operator of a layer, which one it is, and the shape of what it gives."""
    operator, code = schema.OperatorT(), schema.OperatorCodeT()
    if weights.ndim == 4:
        sides = ((sides[0] - 3) // 2 + 1, (sides[1] - 3) // 2 + 1, len(weights))
        code.builtinCode = schema.BuiltinOperator.CONV_2D
        operator.builtinOptionsType = schema.BuiltinOptions.Conv2DOptions
        options = operator.builtinOptions = schema.Conv2DOptionsT()
        options.padding, options.strideW, options.strideH = schema.Padding.VALID, 2, 2
        options.fusedActivationFunction = schema.ActivationFunctionType.RELU
    else:
        sides = (len(weights),)
        code.builtinCode = schema.BuiltinOperator.FULLY_CONNECTED
        operator.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
        operator.builtinOptions = schema.FullyConnectedOptionsT()
    code.deprecatedBuiltinCode = code.builtinCode
    code.version = (4 if weights.ndim == 2 else 3) if integer else 1
    return operator, code, sides


def write_tflite_network(path, layers, shape, scales=None, *, inputs=1):
    """A TFLite file, without TensorFlow.

    Args:
        path: where it goes.
        layers: weights and bias of each; ``(out, 3, 3, in)`` is a convolution of stride 2 with a
            ReLU behind it, ``(out, in)`` is fully connected.
        shape: of an image, channels last.
        scales: scale and zero point of the input and of each layer's output; None for float.
        inputs: how many there are, of which the first is used.
    """
    kind = schema.TensorType.FLOAT32 if scales is None else schema.TensorType.INT8
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.buffers = 3, [schema.BufferT()]
    graph.tensors, graph.operators, model.operatorCodes = [], [], []

    def add(name, sides, dtype, scale=None, data=None):
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name, list(sides), dtype, 0
        if scale is not None:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale, tensor.quantization.zeroPoint = [scale[0]], [scale[1]]
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(data.tobytes(), np.uint8)
            model.buffers.append(buffer)
            tensor.buffer = len(model.buffers) - 1
        graph.tensors.append(tensor)
        return len(graph.tensors) - 1

    def constants(number, weights, bias):
        if scales is None:
            values = weights.astype(np.float32), bias.astype(np.float32)
            return [
                add(f"{name}{number}", each.shape, kind, data=each)
                for name, each in zip("wb", values, strict=True)
            ]
        step = np.abs(weights).max() / 127
        codes, of_bias = np.rint(weights / step).astype(np.int8), scales[number][0] * step
        offset = np.rint(bias / of_bias).astype(np.int32)
        return [
            add(f"w{number}", codes.shape, kind, (step, 0), codes),
            add(f"b{number}", offset.shape, schema.TensorType.INT32, (of_bias, 0), offset),
        ]

    of = scales or [None] * (len(layers) + 1)
    graph.inputs = [add(f"x{n}", (1, *shape), kind, of[0]) for n in range(inputs)]
    last, sides = graph.inputs[0], shape
    for number, (weights, bias) in enumerate(layers):
        operator, code, sides = _operation(weights, sides, scales is not None)
        model.operatorCodes.append(code)
        operator.opcodeIndex = number
        operator.inputs = [last, *constants(number, weights, bias)]
        last = add(f"y{number}", (1, *sides), kind, of[number + 1])
        operator.outputs = [last]
        graph.operators.append(operator)
    graph.outputs, model.subgraphs = [last], [graph]
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
