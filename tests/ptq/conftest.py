import gzip
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ptq_pipeline.models import Preprocessing, resnet20
from ptq_pipeline.ptq import PreparedModel, prepare


@pytest.fixture(scope="session")
def images(raw_data: Path) -> Tensor:
    """256 real test images, preprocessed."""
    raw = gzip.decompress((raw_data / "fashion_mnist/test/images-idx3-ubyte.gz").read_bytes())
    pixels = np.frombuffer(raw, np.uint8, count=256 * 784, offset=16).reshape(-1, 1, 28, 28)
    return torch.from_numpy(Preprocessing((0.286,), (0.353,))(pixels))


@pytest.fixture(scope="session")
def resnet(images: Tensor) -> nn.Module:
    """A ResNet-20 with random weights and the batch norm statistics of real images."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = resnet20().train()
        for _ in range(5):
            model(images[:64])
    return model.eval()


@pytest.fixture(scope="session")
def prepared(resnet: nn.Module, images: Tensor) -> PreparedModel:
    return prepare(resnet, images[:4])
