import numpy as np
import pandas as pd
import pytest
from tests.monitoring.conftest import column, compared

from ptq_pipeline.monitoring.drift import effective_size, sampling_thresholds
from ptq_pipeline.monitoring.parameters import DriftParameters
from ptq_pipeline.statistics.distances import distance


def test_effective_size_of_equal_and_of_unequal_rows() -> None:
    assert effective_size([3, 3, 3, 3]) == pytest.approx(4)
    assert effective_size([1, 1, 10]) == pytest.approx(144 / 102)


def test_thresholds_shrink_with_the_sample_and_are_reproducible(
    reference: pd.DataFrame, settings: DriftParameters
) -> None:
    small, large = (sampling_thresholds(reference, settings, size) for size in (256, 2_000))
    assert small == sampling_thresholds(reference, settings, 256)
    assert all(large[name] < small[name] for name in small)
    # A sample of 256 is further than a tenth of a standard deviation away for no reason.
    assert all(small[name] > 0.1 for name in small if name not in ("label", "tone"))


def test_no_global_random_state_is_touched(
    reference: pd.DataFrame, settings: DriftParameters
) -> None:
    before = np.random.get_state()[1].copy()
    sampling_thresholds(reference, settings, 100)
    assert np.array_equal(before, np.random.get_state()[1])


@pytest.mark.parametrize("size", [256, 1_000])
def test_fresh_samples_of_the_same_population_exceed_them_in_alpha_of_the_cases(
    size: int,
) -> None:
    # Independent and strongly dependent columns together: the level holds for all of them at once.
    generator = np.random.default_rng(size)

    def draw(rows: int) -> pd.DataFrame:
        first = generator.normal(size=rows)
        third = generator.choice(list("abcdefghij"), rows)
        return pd.DataFrame(
            {"x": first, "y": first + 0.1, "z": generator.gamma(2, size=rows)}
        ).assign(c=third)

    columns = {name: column("wasserstein") for name in "xyz"} | {"c": column("jensenshannon")}
    settings = compared(columns, alpha=0.1, resamples=500, seed=1)
    references = [draw(1_500) for _ in range(6)]
    alarms = []
    for reference in references:
        thresholds = sampling_thresholds(reference, settings, size)
        for _ in range(50):
            current = draw(size)
            alarms.append(
                any(
                    distance(how.method, reference[name], current[name]) > thresholds[name]
                    for name, how in columns.items()
                )
            )
    # 300 correlated trials around 10 %.
    assert 0.04 <= np.mean(alarms) <= 0.18


def test_repeated_rows_are_worth_fewer(reference: pd.DataFrame) -> None:
    generator = np.random.default_rng(3)
    columns = {"brightness": column("wasserstein", 0.01)}
    settings = compared(columns, resamples=300, seed=2)
    population = reference["brightness"]
    alarms = {"rows": 0, "effective": 0}
    repeats = np.repeat([1, 9], 100)
    size = int(effective_size(repeats))
    limits = {
        "rows": sampling_thresholds(reference, settings, int(repeats.sum())),
        "effective": sampling_thresholds(reference, settings, size),
    }
    for _ in range(200):
        distinct = generator.choice(population.to_numpy(), len(repeats))
        value = distance("wasserstein", population, pd.Series(np.repeat(distinct, repeats)))
        for kind, limit in limits.items():
            alarms[kind] += value > limit["brightness"]
    assert alarms["rows"] / 200 > 0.4
    assert alarms["effective"] / 200 < 0.12
