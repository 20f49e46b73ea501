import numpy as np

from ptq_pipeline.judgement.planning import samples_to_decide
from ptq_pipeline.statistics import rejection_region


def test_planned_samples_decide_most_of_the_time():
    n = samples_to_decide(lost=12, gained=6, n=300, limit=0.04, alpha=0.05)
    power = rejection_region(n, 0.04, 0.05).power(12 / 300, 6 / 300)
    assert n > 300
    assert 0.8 < power < 0.97


def test_more_samples_than_there_are():
    assert samples_to_decide(lost=0, gained=0, n=500, limit=0.5, alpha=0.05) > 500


def test_drop_at_its_limit_is_finite():
    assert np.isfinite(samples_to_decide(lost=20, gained=0, n=500, limit=0.04, alpha=0.05))
