"""Corrections and learned rounding on transformers, small and with random weights."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.models.swin_transformer import SwinTransformer
from torchvision.models.vision_transformer import VisionTransformer

from ptq_pipeline.ptq import PreparedModel, method_from_json, prepare, quantize_model
from ptq_pipeline.ptq.corrections import smooth_quant
from ptq_pipeline.ptq.reconstruction.units import partition
from ptq_pipeline.runtimes import SimulatedRuntime

MODELS = {
    "vit": lambda: VisionTransformer(16, 8, 2, 2, 16, 32, num_classes=5),
    "swin": lambda: SwinTransformer([2, 2], 8, [1, 2], [1, 2], [2, 2], num_classes=5),
}


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randn(16, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module", params=list(MODELS))
def transformer(request: pytest.FixtureRequest, images: Tensor) -> PreparedModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = MODELS[request.param]().eval()
        if request.param == "vit":
            # Its head starts as zero, which would hide every difference.
            nn.init.normal_(model.heads.head.weight)
        # One loud channel behind every LayerNorm, as trained transformers have.
        for child in model.modules():
            if isinstance(child, nn.LayerNorm):
                nn.init.constant_(child.weight[3:4], 30.0)
    return prepare(model, images[:2])


def _error(model: PreparedModel, images: Tensor, values: dict) -> float:
    method = method_from_json(values)
    found = quantize_model(model, [images], method, seed=0)
    got, wanted = (SimulatedRuntime().compile(model, p)(images.numpy()) for p in (found, None))
    return float(np.square(got - wanted).mean())


def test_smooth_quant_keeps_the_model_and_moves_loud_channels(
    transformer: PreparedModel, images: Tensor
) -> None:
    smooth = smooth_quant(transformer, images)
    with torch.no_grad():
        got, wanted = smooth.module(images), transformer.module(images)
    torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-3)
    norms = [n for n, child in smooth.module.named_modules() if isinstance(child, nn.LayerNorm)]
    loud = [float(smooth.module.get_submodule(name).weight[3]) for name in norms]
    # Only the norm behind Swin's patch embedding is read by no Linear layer.
    assert sum(value >= 20.0 for value in loud) == (len(norms) == 9)
    values = {"corrections": ["smooth_quant"]}
    found = quantize_model(transformer, [images], method_from_json(values), seed=0)
    assert {name.rpartition(".")[0] for name in found.overrides} == {
        name for name, value in zip(norms, loud, strict=True) if value < 20.0
    }
    logits = SimulatedRuntime().compile(transformer, found)(images.numpy())
    assert np.linalg.norm(logits - wanted.numpy()) < 0.3 * np.linalg.norm(wanted.numpy())


def test_reconstruction_finds_encoder_blocks_and_lowers_the_error(
    transformer: PreparedModel, images: Tensor
) -> None:
    units, repeated = partition(transformer, True)
    assert repeated == [] and sum(unit.is_block for unit in units) >= 2
    low = {"weight_bits": 3, "activation_bits": 8, "weight_symmetric": False}
    learned = {**low, "name": "qdrop", "iterations": 60, "rounding_lr": 0.03, "batch_size": 8}
    nearest = {**low, "weight_range": "mse", "activation_range": "mse"}
    assert _error(transformer, images, learned) < _error(transformer, images, nearest)
