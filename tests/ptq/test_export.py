import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.ptq import (
    MethodSpec,
    PreparedModel,
    QuantizationParameters,
    calibrate,
    prepare,
)
from ptq_pipeline.ptq.export import export_onnx, metadata_of

Quantized = Callable[[int, int], QuantizationParameters]


@pytest.fixture(scope="session")
def quantized(prepared: PreparedModel, images: Tensor) -> Quantized:
    return lambda *bits: calibrate(prepared, [images[:64]], MethodSpec(*bits))


def read_codes(content: bytes) -> dict[str, np.ndarray]:
    """Return the integer weights of an exported file by layer, as stored (linear: transposed)."""
    suffix = ".weight/codes"
    model = onnx.load_from_string(content)
    return {
        entry.name.removesuffix(suffix): np.asarray(onnx.numpy_helper.to_array(entry))
        for entry in model.graph.initializer
        if entry.name.endswith(suffix)
    }


def learned(parameters: QuantizationParameters, seed: int) -> QuantizationParameters:
    """Move every code by -1, 0 or 1, as learned rounding does."""
    rng = np.random.default_rng(seed)
    layers = {}
    for name, layer in parameters.layers.items():
        scheme = layer.weight.scheme
        moved = layer.weight.codes + rng.integers(-1, 2, layer.weight.codes.shape)
        codes = moved.clip(scheme.qmin, scheme.qmax).astype(np.int8)
        layers[name] = replace(layer, weight=replace(layer.weight, codes=codes))
    return replace(parameters, layers=layers)


@pytest.mark.parametrize("bits", [(8, 8), (4, 4), (3, 5)])
def test_learned_rounding_survives_bit_for_bit(
    prepared: PreparedModel, quantized: Quantized, bits: tuple[int, int]
) -> None:
    parameters = learned(quantized(*bits), seed=5)
    stored = read_codes(export_onnx(prepared, parameters))
    assert set(stored) == set(parameters.layers)
    for name, codes in stored.items():
        assert codes.dtype == np.int8
        assert np.array_equal(codes, parameters.layers[name].weight.codes)


def test_equal_inputs_give_equal_bytes_and_no_trace_of_the_machine(
    prepared: PreparedModel, resnet: nn.Module, images: Tensor, quantized: Quantized
) -> None:
    content = export_onnx(prepared, quantized(8, 8), {"trial_id": "abc"})
    again = prepare(resnet, images[:2])
    assert export_onnx(again, quantized(8, 8), {"trial_id": "abc"}) == content
    for trace in (b"/site-packages/", b".py", b"stack_trace", b"name_scopes"):
        assert trace not in content


def test_the_file_says_where_it_comes_from_and_what_it_needs(
    prepared: PreparedModel, quantized: Quantized
) -> None:
    facts = {"trial_id": "abc", "calibration_set": "def", "float_model_sha256": "0"}
    content = export_onnx(prepared, quantized(4, 6), facts)
    found = metadata_of(content)
    assert facts.items() <= found.items()
    needed = json.loads(found["requires"])
    assert needed["opset"] == 18
    assert needed["weight_bits"] == [4] and needed["activation_bits"] == [6]
    assert needed["clip_in_front_of_quantizers"] is True
    assert needed["integer_types"] == ["uint8", "int8", "int32"]
    assert "Clip" in needed["operators"]
    other = metadata_of(export_onnx(prepared, quantized(4, 5), facts))
    assert other["parameters_sha256"] != found["parameters_sha256"]
    wide = json.loads(metadata_of(export_onnx(prepared, quantized(8, 8)))["requires"])
    assert wide["clip_in_front_of_quantizers"] is False


def test_every_layer_has_integers_and_the_batch_is_open(
    prepared: PreparedModel, quantized: Quantized
) -> None:
    content = export_onnx(prepared, quantized(8, 8))
    model = onnx.load_from_string(content)
    onnx.checker.check_model(model, full_check=True)
    (given,), (logits,) = model.graph.input, model.graph.output
    assert given.type.tensor_type.shape.dim[0].dim_param == "batch"
    assert logits.type.tensor_type.shape.dim[0].dim_param == "batch"
    made = {node.output[0]: node for node in model.graph.node}
    types = {entry.name: entry.data_type for entry in model.graph.initializer}
    layers = [node for node in model.graph.node if node.op_type in {"Conv", "Gemm", "MatMul"}]
    assert len(layers) == len(prepared.layers)
    for node in layers:
        expected = (onnx.TensorProto.UINT8, onnx.TensorProto.INT8, onnx.TensorProto.INT32)
        for source, kind in zip(node.input, expected, strict=True):
            dequantize = made[source]
            assert dequantize.op_type == "DequantizeLinear"
            origin = dequantize.input[0]
            quantize = made.get(origin)
            stored = types[quantize.input[2]] if quantize else types[origin]
            assert stored == kind
    # Two layers that read one tensor share one quantizer.
    assert sum(node.op_type == "QuantizeLinear" for node in model.graph.node) == len(layers) - 2
    # A quarter of the float file.
    assert len(content) < 0.35 * len(export_onnx(prepared, None))


def test_four_bits_in_onnx_types(prepared: PreparedModel, quantized: Quantized) -> None:
    parameters = learned(quantized(4, 4), seed=6)
    content = export_onnx(prepared, parameters, opset=21, int4=True)
    for name, codes in read_codes(content).items():
        assert np.array_equal(codes.astype(np.int8), parameters.layers[name].weight.codes)
    needed = json.loads(metadata_of(content)["requires"])
    assert needed["integer_types"] == ["int32", "uint4", "int4"]
    assert needed["clip_in_front_of_quantizers"] is False
    assert len(content) < len(export_onnx(prepared, parameters)) - 100_000


def test_an_opset_that_cannot_hold_it(prepared: PreparedModel, quantized: Quantized) -> None:
    with pytest.raises(InputError, match="opset 13 cannot be written; allowed are 18 to"):
        export_onnx(prepared, quantized(8, 8), opset=13)
    with pytest.raises(InputError, match="opset 99 cannot be written"):
        export_onnx(prepared, quantized(8, 8), opset=99)
    with pytest.raises(InputError, match="4-bit types need opset 21"):
        export_onnx(prepared, quantized(4, 4), opset=18, int4=True)


def test_a_model_whose_batch_size_is_fixed(images: Tensor) -> None:
    class FixedBatch(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(28 * 28, 10)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(x.reshape(2, 28 * 28))

    fixed = prepare(FixedBatch(), images[:2])
    with pytest.raises(InputError, match="fixed batch size; let no shape"):
        export_onnx(fixed, None)


def test_products_where_autocast_is_switched_off(images: Tensor) -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(28, 10)

        def forward(self, x: Tensor) -> Tensor:
            with torch.autocast("cpu", enabled=False):
                mixed = x[:, 0] @ x[:, 0].transpose(1, 2)
            return self.head(mixed).mean(1)

    attention = prepare(Attention(), images[:2])
    assert attention.products == ("matmul_0",)
    export_onnx(attention, None)


def test_a_bias_that_would_not_fit_int32_widens_the_steps_of_its_weights(images: Tensor) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 3))
    with torch.no_grad():
        model[1].bias[0] = 1e7
        model[1].weight.mul_(1e-3)
    prepared = prepare(model, images[:2])
    parameters = calibrate(prepared, [images[:8] * 1e-2], MethodSpec())
    exported = onnx.load_from_string(export_onnx(prepared, parameters))
    kept = {each.name: onnx.numpy_helper.to_array(each) for each in exported.graph.initializer}
    codes, step = kept["1.bias/codes"], kept["1.bias/step"]
    assert codes.dtype == np.int32
    assert codes.max() <= 2**30
    assert codes[0] * step[0] == pytest.approx(1e7, rel=1e-6)
    assert not kept["1.weight/codes"][0].any()
