import io

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptq_pipeline.core.answers import FloatAnswers, answers_to, every_answer
from ptq_pipeline.core.errors import InputError

IDS = np.array([2, 3, 5, 8, 9, 40])
FLOATS = pd.concat(
    [
        pd.DataFrame({"shift": shift, "sample_id": IDS, "predicted": answers})
        for shift, answers in (("clean", [0, 1, 2, 0, 1, 2]), ("noise", [0, 0, 0, 1, 1, 1]))
    ]
)


def written(predictions, floats=FLOATS):
    """The table as it comes back from its file."""
    of_float = FloatAnswers.of(floats)
    stored = of_float.table(of_float.read(predictions)).to_parquet()
    return pd.read_parquet(io.BytesIO(stored))


def plain(rows):
    table = pd.DataFrame(rows, columns=["trial_id", "shift", "sample_id", "predicted"])
    table = table.astype({"predicted": np.int32, "sample_id": np.int64})
    return table.astype({"trial_id": "category", "shift": "category"})


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_whatever_was_answered_comes_back(data):
    rows = []
    for trial in ("a", "b"):
        for shift in ("clean", "noise"):
            answered = data.draw(st.lists(st.sampled_from(IDS.tolist()), unique=True))
            rows += [
                (trial, shift, each, data.draw(st.integers(0, 2))) for each in sorted(answered)
            ]
    table = plain(rows)
    pd.testing.assert_frame_equal(every_answer(written(table), FLOATS), table)


def test_one_trial_or_some_units_can_be_taken_out():
    rows = [("a", "noise", each, 1) for each in IDS] + [("b", "clean", 5, 0), ("b", "clean", 8, 0)]
    table = written(plain(rows))
    assert FloatAnswers.of(FLOATS).of_trial(table, "b", [8, 2])["clean"].tolist() == [0, -1]
    assert FloatAnswers.of(FLOATS).of_trial(table, "nobody", IDS) == {}
    kept, floats = answers_to(table, FLOATS, [5, 9, 40])
    assert set(floats["sample_id"]) == {5, 9, 40}
    expected = plain([row for row in rows if row[2] in (5, 9, 40)])
    pd.testing.assert_frame_equal(every_answer(kept, floats), expected)


def test_answers_that_are_alike_take_no_room():
    table = written(plain([("a", "noise", each, each in (8, 9, 40)) for each in IDS]))
    assert table["sample_id"].map(len).tolist() == [0]
    assert table["answered"].map(list).tolist() == [[0, len(IDS)]]


def test_answers_are_not_read_beside_another_float_model_nor_when_they_were_changed():
    table = written(plain([("a", "clean", each, 1) for each in IDS]))
    other = FLOATS.assign(predicted=(FLOATS["predicted"] + 1) % 3)
    with pytest.raises(InputError, match="trial 'a' under shift 'clean' were changed, or were not"):
        every_answer(table, other)
    changed = table.assign(predicted=[np.full(4, 2, np.int32)])
    with pytest.raises(InputError, match="were changed"):
        every_answer(changed, FLOATS)


def test_unknown_double_and_negative_answers_are_named():
    with pytest.raises(InputError, match="sample 4 is in neither"):
        written(plain([("a", "clean", 4, 1)]))
    for rows in ([("a", "clean", 2, 1)] * 2, [("a", "clean", 2, -1)]):
        with pytest.raises(InputError, match="answered twice"):
            written(plain(rows))
