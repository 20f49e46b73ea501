"""Does the float model answer as one would expect, or is its preprocessing or class list wrong?"""

import numpy as np
import pandas as pd

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.models import FloatModel
from ptq_pipeline.tasks.detection import classes_of_places, match
from ptq_pipeline.tasks.detector import Detection, annotations_of, joined

# Cohen's kappa below which a model is hardly better than answers drawn with the same frequencies.
NEAR_CHANCE = 0.1
# A float model this much worse than recorded looks like a preprocessing mistake.
FAR_BELOW = 0.05
# A permutation of the classes is believed if it makes most of what it moves right, and the given
# order little of it; no classifier confuses two classes both ways more often than not.
RIGHT_IF_PERMUTED, RIGHT_AS_GIVEN = 0.5, 0.25
# Few images can be put in order by chance.
FEWEST_MOVED, FEWEST_PER_CLASS = 20, 5
# Images that a detector is looked at with, and of a batch.
LOOKED_AT, BATCH = 400, 50


def check_class_order(labels: np.ndarray, predicted: np.ndarray, classes: tuple[str, ...]) -> None:
    """Refuse a list of classes in another order than the model's outputs.

    Args:
        labels: ``(images,)`` class index.
        predicted: ``(images,)`` the float model's answer.
        classes: names in the order that is declared.

    Raises:
        InputError: with the names that seem to belong to the outputs.

    Examples:
        >>> labels = np.repeat([0, 1, 2], 20)
        >>> check_class_order(labels, labels, ("cat", "dog", "owl"))
        >>> check_class_order(labels, (2 - labels), ("cat", "dog", "owl"))
        Traceback (most recent call last):
        ...
        ptq_pipeline.core.errors.InputError: the float model is right on 0.0 % of ...
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    count = len(classes)
    answers = coo_matrix(
        (np.ones(len(labels)), (predicted, labels)), shape=(count, count), dtype=np.float64
    ).tocsr()
    meant = np.arange(count)
    # Only classes that answer each other can be exchanged, so large lists stay cheap.
    pieces, piece = connected_components(answers, directed=False)
    for number in range(pieces):
        rows = np.flatnonzero(piece == number)
        if len(rows) > 1:
            meant[rows] = rows[_best_order(answers[rows][:, rows])]
    wrong = np.flatnonzero(meant != np.arange(count))
    moved = np.isin(predicted, wrong)
    if moved.sum() < max(FEWEST_MOVED, FEWEST_PER_CLASS * len(wrong)):
        return
    permuted = float((meant[predicted[moved]] == labels[moved]).mean())
    given = float((predicted[moved] == labels[moved]).mean())
    if permuted < RIGHT_IF_PERMUTED or given > RIGHT_AS_GIVEN:
        return
    named = ", ".join(f"output {k} is '{classes[meant[k]]}', not '{classes[k]}'" for k in wrong[:5])
    more = f", and {len(wrong) - 5} more" if len(wrong) > 5 else ""
    raise InputError(
        f"the float model is right on {100 * given:.1f} % of the images that it answers with "
        f"{len(wrong)} of the classes, and would be right on {100 * permuted:.1f} % if 'classes' "
        f"stood in another order: {named}{more}. Correct 'classes' of the model (torchvision sorts "
        "class folders as texts, '10' before '2'), or, where colours tell the classes apart, the "
        "order of the channels (a model for BGR takes red for blue)"
    )


def check_detector(model: FloatModel, images: np.ndarray, table: pd.DataFrame) -> None:
    """Check on a few hundred selection images that a detector finds objects, of the right class.

    Args:
        model: the float model.
        images: uint8 ``(N, C, H, W)``, row by row those of ``table``.
        table: ``split``, ``sample_id`` and ``objects`` of all images.

    Raises:
        InputError: it finds nothing at its threshold, or its classes are in another order.
    """
    from ptq_pipeline.models.inference import in_torch

    task = model.task
    assert isinstance(task, Detection)
    chosen = np.flatnonzero((table["split"] == "selection").to_numpy())[:LOOKED_AT]
    predict, read = in_torch(model), []
    for start in range(0, len(chosen), BATCH):
        rows = chosen[start : start + BATCH]
        batch = model.preprocessing(np.stack([images[row] for row in rows]))
        read.append(task.read(predict(batch), rows))
    annotations = annotations_of(table.iloc[chosen], model.classes)
    found = joined(read)
    labels, answers = classes_of_places(annotations, found, task.matching)
    check_class_order(labels, answers, model.classes)
    matches = match(annotations, found, task.matching)
    objects = int((~annotations.ignored).sum())
    if objects and not (matches.found & ~annotations.ignored).any():
        raise InputError(
            f"the float detector finds none of {objects} objects of selection at a score of "
            f"{task.matching.score:g} and an overlap of {task.matching.iou:g}; choose the "
            "threshold at which it works in production ('detector.score' of the model's catalog "
            "entry), and check its preprocessing, its decoder and that boxes are in pixels of the "
            "decoded images"
        )


def _best_order(answers: np.ndarray) -> np.ndarray:
    """Return the label that each output means if that makes the most answers right."""
    from scipy.optimize import linear_sum_assignment

    return linear_sum_assignment(answers.toarray(), maximize=True)[1]


def suspicion(
    labels: np.ndarray, predicted: np.ndarray, expected: float | None = None
) -> str | None:
    """Say why the float model's accuracy looks like a mistake in the preprocessing, or None.

    ``expected`` is the accuracy that it is known to reach, a fraction; None compares with chance.

    Examples:
        >>> suspicion(np.arange(100) % 2, np.zeros(100, int))
        'the float model is right on 50.0 % of the samples, near the 50.0 % of chance: ...
        >>> suspicion(np.arange(100) % 2, np.arange(100) % 2)
    """
    accuracy = float((labels == predicted).mean())
    if expected is not None:
        if accuracy >= expected - FAR_BELOW:
            return None
        return (
            f"the float model is right on {100 * accuracy:.1f} % of the samples, far below the "
            f"{100 * expected:.1f} % of 'data_loading.expected_accuracy': check mean, std, channel "
            "order and image size"
        )
    shares = [pd.Series(each).value_counts(normalize=True) for each in (labels, predicted)]
    chance = float(shares[0].mul(shares[1], fill_value=0).sum())
    if chance == 1 or (accuracy - chance) / (1 - chance) >= NEAR_CHANCE:
        return None
    return (
        f"the float model is right on {100 * accuracy:.1f} % of the samples, near the "
        f"{100 * chance:.1f} % of chance: check mean, std, channel order, image size and the "
        "order of the classes"
    )
