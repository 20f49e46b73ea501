import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.group_ids import GroupDefinitions, GroupId, check_labels, class_ids
from ptq_pipeline.core.grouping import build_groups

COUNT = 12


def table(**columns):
    ids = np.arange(COUNT)
    return pd.DataFrame({"sample_id": ids, "split": "audit", "label": ids % 2}).assign(**columns)


def test_two_classes_of_one_name_are_refused():
    samples = table(label=np.arange(COUNT) % 3)
    with pytest.raises(InputError, match="two classes are called 'crane'"):
        build_groups(samples, ["crane", "x", "crane"], {})


def test_segments_whose_joined_names_are_equal_are_refused_and_told_apart():
    samples = table(**{"a": "b=c", "a=b": "c"})
    with pytest.raises(InputError) as caught:
        build_groups(samples, ["x", "y"], {"a": ["b=c"], "a=b": ["c"]})
    text = str(caught.value)
    assert "both be called 'a=b=c'" in text
    assert "column 'a' is 'b=c', and column 'a=b' is 'c'" in text


def test_values_that_are_written_alike_are_refused():
    with pytest.raises(InputError, match="both be called 'site=1'"):
        build_groups(table(site=["1", 1] * 6), ["x", "y"], {"site": ["1", 1]})
    with pytest.raises(InputError, match="same value twice"):
        build_groups(table(site="a"), ["x", "y"], {"site": ["a", "a"]})


def test_a_class_may_be_called_like_a_segment_because_levels_differ():
    groups = build_groups(table(tone="dark"), ["tone=dark", "y"], {"tone": ["dark"]})
    assert groups.by_level()["class"] == ["tone=dark", "y"]
    assert groups.by_level()["segment"] == ["tone=dark"]


def test_intersections_that_would_be_called_alike_are_refused():
    columns = {"tone": "dark", "tone=dark & tone": "dark"}
    with pytest.raises(InputError, match="both be called 'x & tone=dark & tone=dark'"):
        build_groups(
            table(**columns),
            ["x", "x & tone=dark"],
            {name: ["dark"] for name in columns},
        )


def test_control_columns_that_would_be_called_alike_are_refused():
    samples = table(**{"a": "b=c", "a=b": "c"})
    with pytest.raises(InputError, match="both be called 'a=b=c'"):
        build_groups(samples, ["x", "y"], {}, controls={"a": ["b=c"], "a=b": ["c"]})


NAMES = st.text("ab=& ", min_size=1, max_size=4)


@given(
    st.lists(NAMES, min_size=1, max_size=3),
    st.dictionaries(NAMES, st.lists(NAMES, min_size=1, max_size=2), max_size=3),
)
def test_labels_are_either_refused_or_name_one_group_each(classes, segments):
    definitions = {
        "classes": classes,
        "segments": {column: {"names": names} for column, names in segments.items()},
    }
    for level in ("average", "class", "segment", "intersection"):
        ids = list(GroupDefinitions.read(definitions).ids(level))
        different = len(ids) == len({each.label for each in ids})
        try:
            check_labels(ids)
        except InputError:
            assert not different
        else:
            assert different


def test_an_id_says_what_a_group_is_and_crosses():
    boot, dark = class_ids(["boot"])[0], GroupId("segment", ("tone",), ("dark",))
    assert boot.crossed(dark) == GroupId("intersection", ("label", "tone"), ("boot", "dark"))
    assert boot.crossed(dark).label == "boot & tone=dark"
    assert GroupId("average").label == "all"
