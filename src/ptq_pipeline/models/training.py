"""Training of the reference models: SGD, one-cycle schedule, averaged weights.

The validation images (a part of the training images) choose the epoch; the test images are looked
at once, after everything is decided.
"""

import copy
import logging
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor, nn

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingRecipe:
    """How a reference model is trained.

    Attributes:
        epochs: passes over the training images.
        peak_learning_rate: top of the one-cycle schedule (Smith and Topin, arXiv 1708.07120).
        weight_decay: L2 penalty of SGD with Nesterov momentum 0.9.
        batch_size: images per step.
        crop_padding: pixels of zero padding for random crops.
        ema_decay: decay per step of the averaged weights, which are what is evaluated and kept.
        validation_images: images put aside to choose the epoch.
        seed: seed of initialisation, order and augmentation.
    """

    epochs: int
    peak_learning_rate: float
    weight_decay: float
    batch_size: int = 128
    crop_padding: int = 2
    ema_decay: float = 0.998
    validation_images: int = 2_500
    seed: int = 1


def augment(images: Tensor, padding: int, generator: torch.Generator) -> Tensor:
    """Flip ``(N, C, H, W)`` images at random, and crop them at random after zero padding."""
    count, _, height, width = images.shape
    flip = torch.rand(count, generator=generator) < 0.5
    images = torch.where(flip[:, None, None, None], images.flip(-1), images)
    padded = nn.functional.pad(images, [padding] * 4)
    top = torch.randint(0, 2 * padding + 1, (count, 1, 1), generator=generator)
    left = torch.randint(0, 2 * padding + 1, (count, 1, 1), generator=generator)
    rows = top + torch.arange(height)[None, :, None]
    columns = left + torch.arange(width)[None, None, :]
    batch = torch.arange(count)[:, None, None]
    return padded.permute(0, 2, 3, 1)[batch, rows, columns].permute(0, 3, 1, 2)


@torch.inference_mode()
def accuracy(model: nn.Module, images: Tensor, labels: Tensor, batch_size: int = 500) -> float:
    """Return top-1 accuracy in [0, 1] of ``model`` in evaluation mode."""
    model.eval()
    correct = 0
    for start in range(0, len(images), batch_size):
        logits = model(images[start : start + batch_size])
        correct += int((logits.argmax(1) == labels[start : start + batch_size]).sum())
    return correct / len(images)


@torch.no_grad()
def _average_into(target: nn.Module, source: nn.Module, decay: float) -> None:
    for averaged, current in zip(
        target.state_dict().values(), source.state_dict().values(), strict=True
    ):
        if averaged.dtype.is_floating_point:
            averaged.lerp_(current, 1.0 - decay)
        else:
            averaged.copy_(current)


def _draw_weights(model: nn.Module, seed: int) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in model.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()


def _weights(model: nn.Module) -> dict[str, Tensor]:
    return {
        name: value.detach().clone().contiguous()
        for name, value in model.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }


def train(
    model: nn.Module, images: Tensor, labels: Tensor, recipe: TrainingRecipe
) -> tuple[dict[str, Tensor], dict[str, object]]:
    """Train ``model``; return the averaged weights of the epoch that validates best, and a record.

    Its weights are drawn again from ``recipe.seed``. Images are normalised float32
    ``(N, C, H, W)``, labels int64 ``(N,)``.
    """
    generator = torch.Generator().manual_seed(recipe.seed)
    _draw_weights(model, recipe.seed)
    order = torch.randperm(len(images), generator=generator)
    held, used = order[: recipe.validation_images], order[recipe.validation_images :]
    model = model.to(memory_format=torch.channels_last)
    averaged = copy.deepcopy(model)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=recipe.weight_decay
    )
    steps = -(-len(used) // recipe.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.peak_learning_rate, total_steps=steps * recipe.epochs, pct_start=0.2
    )
    history: list[float] = []
    best: dict[str, Tensor] = {}
    for epoch in range(recipe.epochs):
        model.train()
        shuffled = used[torch.randperm(len(used), generator=generator)]
        for start in range(0, len(used), recipe.batch_size):
            rows = shuffled[start : start + recipe.batch_size]
            batch = augment(images[rows], recipe.crop_padding, generator)
            with torch.autocast("cpu", torch.bfloat16):
                logits = model(batch.contiguous(memory_format=torch.channels_last))
            loss = nn.functional.cross_entropy(logits.float(), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            decay = min(recipe.ema_decay, (epoch * steps + start // recipe.batch_size) / 100)
            _average_into(averaged, model, decay)
        history.append(accuracy(averaged, images[held], labels[held]))
        log.info("epoch %d of %d: validation accuracy %.4f", epoch + 1, recipe.epochs, history[-1])
        if history[-1] == max(history):
            best = _weights(averaged)
    record: dict[str, object] = {
        "recipe": asdict(recipe),
        "training_images": len(used),
        "best_epoch": int(np.argmax(history)) + 1,
        "validation_accuracy": max(history),
        "validation_history": history,
    }
    return best, record
