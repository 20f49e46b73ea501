"""Nodes of ``reference_training``."""

from typing import Any

import numpy as np

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.images.source import ImageSource, content_hashes, content_keys
from ptq_pipeline.models import Preprocessing
from ptq_pipeline.pipelines.reference_training.parameters import ReferenceModelParameters


def train_reference_model(
    complete: ImageSource,
    embedded: ImageSource,
    training_hashes: np.ndarray,
    parameters: ReferenceModelParameters,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Train on the images that are in no split, then look at the test images once.

    Args:
        complete: the 60,000 training images of the original distribution.
        embedded: the embedded images; its first part are the test images.
        training_hashes: sorted uint64 content keys of the images to train on.
        parameters: factory, preprocessing, epochs and seed.

    Returns:
        The weights, and a record of how they came about.
    """
    import torch

    from ptq_pipeline.models.factories import build_network
    from ptq_pipeline.models.training import TrainingRecipe, accuracy, train

    torch.set_num_threads(parameters.threads)
    preprocessing = Preprocessing(parameters.mean, parameters.std)
    images, labels, keys = _read(complete)
    rows = np.isin(keys, training_hashes)
    if int(rows.sum()) != len(training_hashes):
        raise InputError(
            f"{len(training_hashes) - int(rows.sum())} training image(s) are missing from "
            "'complete_images'; put the original Fashion-MNIST files there (see docs)"
        )
    model = build_network(parameters.factory, {}, ["ptq_pipeline.models."])
    weights, record = train(
        model,
        torch.from_numpy(preprocessing(images[rows])),
        torch.from_numpy(labels[rows]),
        TrainingRecipe(
            parameters.epochs,
            peak_learning_rate=parameters.peak_learning_rate,
            weight_decay=parameters.weight_decay,
            seed=parameters.seed,
        ),
    )
    model.load_state_dict(weights, strict=False)
    test_images, test_labels = _test_images(embedded)
    score = accuracy(
        model, torch.from_numpy(preprocessing(test_images)), torch.from_numpy(test_labels)
    )
    facts = {"threads": parameters.threads, "test_accuracy": score}
    return weights, {"factory": parameters.factory, **record, **facts}


def _test_images(embedded: ImageSource) -> tuple[np.ndarray, np.ndarray]:
    rows = embedded.table.index[embedded.table["part"] == 0]
    return np.stack([embedded.read(row) for row in rows]), embedded.table["label"].to_numpy()[rows]


def _read(source: ImageSource) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    images = np.stack([source.read(row) for row in range(len(source.table))])
    return images, source.table["label"].to_numpy(), content_keys(content_hashes(images))
