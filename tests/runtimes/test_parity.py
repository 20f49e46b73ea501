import numpy as np
import pytest

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.runtimes import parity


def test_shares_per_true_class() -> None:
    labels = np.array([0, 0, 0, 0, 2, 2])
    reference = np.array([0, 0, 1, 2, 2, 2])
    other = np.array([0, 1, 1, 0, 2, 0])
    table = parity(reference, other, labels, ["coat", "bag", "boot"]).set_index("class")
    assert table["n"].to_dict() == {"coat": 4, "bag": 0, "boot": 2}
    assert table.loc["coat", "agreement"] == 0.5
    assert table.loc["coat", "reference_accuracy"] == table.loc["coat", "other_accuracy"] == 0.5
    assert table.loc["boot", "difference"] == -0.5
    assert table.loc["bag"].drop("n").isna().all()


def test_answers_that_do_not_fit_the_labels() -> None:
    answers = np.zeros(3, np.int16)
    with pytest.raises(InputError, match="3 and 2 answers for 3 labels"):
        parity(answers, answers[:2], np.zeros(3, int), ["coat"])
    with pytest.raises(InputError, match="outside the 1 classes"):
        parity(answers, answers, np.array([0, 1, 0]), ["coat"])
