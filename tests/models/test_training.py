import pytest
import torch

from ptq_pipeline.models import mobilenet_v2_small, resnet20
from ptq_pipeline.models.training import TrainingRecipe, augment, train


@pytest.fixture(scope="module")
def stripes():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 2, (240,), generator=generator)
    images = 0.3 * torch.randn(240, 1, 12, 12, generator=generator)
    images[labels == 1, :, ::4] += 1.0
    images[labels == 0, :, :, ::4] += 1.0
    return images, labels


def test_training_learns_and_is_reproducible(stripes):
    recipe = TrainingRecipe(3, 0.2, 5e-4, batch_size=32, validation_images=60, ema_decay=0.8)
    first, record = train(resnet20(classes=2), *stripes, recipe)
    assert record["validation_accuracy"] > 0.9
    again, same = train(resnet20(classes=2), *stripes, recipe)
    assert record == same
    assert all(torch.equal(again[name], value) for name, value in first.items())


def test_augmentation_moves_and_flips_whole_images():
    image = torch.zeros(64, 1, 8, 8)
    image[:, :, 4, 1] = 1.0
    moved = augment(image, 2, torch.Generator().manual_seed(0))
    assert moved.shape == image.shape
    assert (moved.sum((1, 2, 3)) <= 1).all()
    columns = moved.sum((1, 2)).argmax(1)[moved.sum((1, 2, 3)) == 1]
    assert columns.min() < 3
    assert columns.max() > 5


@pytest.mark.parametrize("factory", [resnet20, mobilenet_v2_small])
def test_reference_networks_are_small(factory):
    model = factory()
    assert model(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
    assert sum(p.numel() for p in model.parameters()) * 4 < 2e6
