import json

import numpy as np
import pandas as pd
import pytest

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.group_ids import SegmentColumn
from ptq_pipeline.profiling.segments import check_columns, define_metadata, metadata_groups

POOL = np.arange(100) < 50


def groups(values, quantiles=(0.5,), most_values=8):
    column = pd.Series(values, name="m")
    written = json.dumps(define_metadata(column, POOL, quantiles, most_values).to_json())
    entry = SegmentColumn.read(json.loads(written))
    found = metadata_groups(column, entry.boundaries).tolist()
    assert list(entry.names) == sorted(set(found))
    return found


def test_boundaries_come_from_the_pool_alone():
    values = np.r_[np.arange(50), np.full(50, 1000)]
    found = groups(values)
    assert found[24:26] == ["q1 (<= 24)", "q2 (> 24)"]
    values[50:] = -7
    assert set(groups(values)) == {"q1 (<= 24)", "q2 (> 24)"}


def test_times_are_cut_like_numbers_and_named_by_day():
    found = groups(pd.date_range("2024-01-01", periods=100, freq="D"))
    assert found[0] == "q1 (<= 2024-01-25)"


def test_missing_values_are_a_group_of_their_own():
    assert groups(np.r_[np.arange(99.0), np.nan])[-1] == "missing"
    assert groups(["a", "b", None, "a"] * 25)[2] == "missing"
    # A column of whole numbers with a gap arrives as floats.
    assert groups([1.0, 2.0, np.nan, 1.0] * 25)[:3] == ["1", "2", "missing"]


def test_quantiles_that_coincide_are_one_boundary():
    values = np.r_[np.zeros(40), np.arange(60)]
    assert set(groups(values, (0.25, 0.5, 0.9))) == {
        "q1 (<= 0)", "q2 (0 to 4)", "q3 (> 4)",
    }  # fmt: skip


def test_infinite_values_fall_into_the_outer_groups():
    values = np.r_[np.arange(98.0), np.inf, -np.inf]
    assert groups(values)[-2:] == ["q2 (> 24)", "q1 (<= 24)"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([f"image {number}" for number in range(100)], "'m'.*100 different texts"),
        (np.r_[np.full(50, np.nan), np.arange(50.0)], "'m'.*no value in the pool"),
    ],
)
def test_columns_that_make_no_groups_are_refused_by_name(values, message):
    with pytest.raises(InputError, match=message):
        groups(values)


def test_what_comes_later_is_cut_at_the_same_boundaries():
    times = pd.Series(pd.date_range("2024-01-01", periods=100, freq="D"), name="m")
    written = json.dumps(define_metadata(times, POOL, (0.5,), 8).to_json())
    boundaries = SegmentColumn.read(json.loads(written)).boundaries
    later = pd.Series(["2030-01-01", "2024-01-25", None])
    assert metadata_groups(later, boundaries).tolist() == [
        "q2 (> 2024-01-25)", "q1 (<= 2024-01-25)", "missing",
    ]  # fmt: skip
    with pytest.raises(InputError, match="'when' is cut at .* other than numbers or times"):
        metadata_groups(pd.Series(["soon"], name="when"), boundaries)


def test_identifiers_that_were_read_as_numbers_do_not_merge():
    values = pd.Series([10000001.0, 10000002.0, None, 0.1 + 0.2, -0.0, 0.0], name="store")
    assert metadata_groups(values, None).tolist() == [
        *("10000001", "10000002", "missing", "0.30000000000000004", "0", "0")
    ]
    many = pd.Series(10_000_001.0 + np.arange(40), name="store")
    entry = define_metadata(many, np.full(40, True), [0.5], 2)
    assert entry.names == ("q1 (<= 10000020)", "q2 (> 10000020)")


def test_different_values_that_are_written_alike_are_refused():
    with pytest.raises(InputError, match="2 different values that are all written '1'"):
        metadata_groups(pd.Series([1, "1", 2], name="store", dtype=object), None)
    with pytest.raises(InputError, match="holds the text 'missing' and also images without"):
        metadata_groups(pd.Series(["missing", None], name="store"), None)
    alone = metadata_groups(pd.Series(["missing", "here"], name="store"), None)
    assert alone.tolist() == ["missing", "here"]


@pytest.mark.parametrize(
    "name", ["part", "name", "sample_id", "brightness", "component_1", "class"]
)
def test_a_column_that_the_package_writes_itself_is_refused(name):
    with pytest.raises(InputError, match=f"the source has a column '{name}' for groups"):
        check_columns(["tone", name], "the source")
