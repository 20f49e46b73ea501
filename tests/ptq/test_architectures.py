"""Real architectures with random weights: every layer is covered, and the output is the same."""

import pytest
import torch
import torchvision
from torch import nn

from ptq_pipeline.ptq import prepare

COVERED = (nn.Conv2d, nn.Linear)
# Arguments, and how many layers and matrix products of activations there are to cover.
ARCHITECTURES = {
    "resnet18": ({}, 21, 0),
    "mobilenet_v2": ({}, 53, 0),
    "mobilenet_v3_small": ({}, 54, 0),
    "efficientnet_b0": ({}, 82, 0),
    "regnet_y_400mf": ({}, 86, 0),
    "shufflenet_v2_x1_0": ({}, 57, 0),
    "densenet121": ({}, 121, 0),
    "squeezenet1_1": ({}, 26, 0),
    "convnext_tiny": ({}, 59, 0),
    # Without its two training heads of three layers each, which do not run.
    "googlenet": ({"init_weights": False}, 58, 0),
    # Attention has three projections instead of one in_proj.
    "vit_b_16": ({"image_size": 64}, 74, 24),
    "swin_t": ({}, 53, 24),
}


@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_every_layer_of_a_torchvision_model_is_covered(name: str) -> None:
    arguments, layers, products = ARCHITECTURES[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = getattr(torchvision.models, name)(num_classes=10, **arguments).eval()
        if name == "vit_b_16":
            # Its head starts as zero, which would hide every difference.
            nn.init.normal_(model.heads.head.weight)
        images = torch.rand(2, 3, 64, 64)
    prepared = prepare(model, images)
    with torch.no_grad():
        expected, got = model(images[:1]), prepared.module(images[:1])
    assert float(expected.std()) > 0
    assert torch.allclose(got, expected, atol=1e-4 * float(expected.abs().max()), rtol=1e-3)
    assert len(prepared.layers) == layers
    assert len(prepared.operands) == 2 * products
    assert len(prepared.unused_layers) == (6 if name == "googlenet" else 0)
    # DenseNet normalises what it concatenates: that stays in float, and is said.
    assert len(prepared.float_batch_norms) == (62 if name == "densenet121" else 0)


@pytest.mark.parametrize(
    ("name", "arguments", "products"),
    [
        ("vit_tiny_patch16_224", {"img_size": 64}, 24),
        ("mobilenetv4_conv_small", {}, 0),
        ("tf_efficientnet_lite0", {}, 0),
        ("resnet10t", {}, 0),
    ],
)
def test_every_layer_of_a_timm_model_is_covered(
    name: str, arguments: dict[str, int], products: int
) -> None:
    timm = pytest.importorskip("timm")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = timm.create_model(name, num_classes=10, **arguments).eval()
        images = torch.rand(2, 3, 64, 64)
    prepared = prepare(model, images)
    with torch.no_grad():
        expected, got = model(images[:1]), prepared.module(images[:1])
    assert torch.allclose(got, expected, atol=1e-4 * float(expected.abs().max()), rtol=1e-3)
    assert len(prepared.layers) == sum(isinstance(child, COVERED) for child in model.modules())
    assert len(prepared.operands) == 2 * products
    assert prepared.float_batch_norms == ()
