import numpy as np
import pandas as pd
import pytest

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.profiling.segments import SegmentRule, cut_segment, define_segment

RULE = SegmentRule("brightness", (1 / 3, 2 / 3), ("dark", "mid", "light"))


def test_thirds_of_the_pool_are_equal_and_frozen():
    pool = pd.Series(np.random.default_rng(0).random(3000))
    definition = define_segment(RULE, "tone", pool)
    assert cut_segment(definition, pool).value_counts().tolist() == [1000, 1000, 1000]
    elsewhere = cut_segment(definition, pool / 10)
    assert set(elsewhere) == {"dark"}
    assert definition.names == ("dark", "mid", "light") and len(definition.thresholds) == 2


def test_missing_values_are_a_group_of_their_own():
    definition = define_segment(RULE, "tone", pd.Series([0.0, 1.0, 2.0, 3.0]))
    assert cut_segment(definition, pd.Series([np.nan, 3.0])).tolist() == ["missing", "light"]


def test_a_constant_feature_cannot_be_cut():
    with pytest.raises(InputError, match="segment 'tone'.*brightness"):
        define_segment(RULE, "tone", pd.Series([1.0] * 10))
