import json
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.monitoring.drift import drift_report, sampling_thresholds
from ptq_pipeline.monitoring.parameters import DriftParameters
from ptq_pipeline.statistics.distances import distance


def test_calm_does_not_alarm_and_drifted_does(
    reference: pd.DataFrame, calm: pd.DataFrame, drifted: pd.DataFrame, settings: DriftParameters
) -> None:
    quiet = drift_report(calm, reference, settings, "calm")
    loud = drift_report(drifted, reference, settings, "drifted")
    assert not quiet.drifted
    assert quiet.drifted_columns == []
    assert loud.drifted
    assert set(loud.drifted_columns) >= {"contrast", "noise", "entropy", "label"}
    ratios = loud.table.set_index("column").eval("value / threshold")
    assert loud.drifted_columns[0] == ratios.idxmax()


@pytest.mark.parametrize("size", [256, 2_000])
def test_alarm_rates_over_resamples(
    size: int,
    reference: pd.DataFrame,
    pool: pd.DataFrame,
    drifted: pd.DataFrame,
    settings: DriftParameters,
) -> None:
    # The rule of drift_report on the same distances; Evidently itself would take minutes here.
    chance = sampling_thresholds(reference, settings, size)
    generator = np.random.default_rng(size)
    rates = {}
    for name, source in (("pool", pool), ("drifted", drifted)):
        alarms = 0
        for _ in range(100):
            current = source.iloc[generator.choice(len(source), size, replace=False)]
            alarms += any(
                distance(how.method, reference[name], current[name])
                >= max(how.threshold, chance[name])
                for name, how in settings.columns.items()
            )
        rates[name] = alarms / 100
    assert rates["pool"] <= 0.12
    assert rates["drifted"] >= 0.95


def test_the_table_says_what_evidently_computed(
    reference: pd.DataFrame, drifted: pd.DataFrame, settings: DriftParameters
) -> None:
    sample = drifted.head(300)
    result = drift_report(sample, reference, settings)
    table = result.table.set_index("column")
    chance = sampling_thresholds(reference, settings, 300)
    for name, column in settings.columns.items():
        row = table.loc[name]
        expected = distance(column.method, reference[name], sample[name])
        assert row["value"] == pytest.approx(expected, rel=1e-6)
        assert row["threshold"] == round(max(column.threshold, chance[name]), 6)
        assert row["drifted"] == (row["value"] >= row["threshold"])
        assert (row["n"], row["effective_n"], row["n_reference"]) == (300, 300, len(reference))
    json.dumps(result.content, allow_nan=False)
    assert "contrast" in result.html
    # Links that a reader may click are fine; nothing is loaded from elsewhere.
    assert not re.search(r'(?:src=|<link[^>]+href=)"https?:', result.html)


def test_repeated_rows_raise_the_threshold(
    reference: pd.DataFrame, calm: pd.DataFrame, settings: DriftParameters
) -> None:
    sample = calm.head(200)
    once = drift_report(sample, reference, settings).table
    often = drift_report(pd.concat([sample] * 10), reference, settings).table
    assert set(often["n"]) == {2_000}
    assert set(often["effective_n"]) == {200.0}
    pd.testing.assert_frame_equal(
        once.drop(columns=["n", "value"]), often.drop(columns=["n", "value"])
    )
    assert once["value"].to_numpy() == pytest.approx(often["value"].to_numpy(), abs=1e-7)


def test_tables_do_not_depend_on_the_hash_seed(tmp_path) -> None:
    script = (
        "import numpy as np, pandas as pd\n"
        "from ptq_pipeline.monitoring.drift import *\n"
        "g = np.random.default_rng(0)\n"
        "make = lambda n: pd.DataFrame({'c': g.choice(list('abcdefghijklmnop'), n)})\n"
        "c = {'c': DriftColumn(method='jensenshannon', threshold=.1)}\n"
        "s = DriftParameters(seed=0, alpha=.1, resamples=100, windows=(), columns=c)\n"
        "r = drift_report(make(333), make(1111), s)\n"
        "print(r.table.to_json(double_precision=15))\n"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path), "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


def test_no_network_and_no_global_random_state(
    reference: pd.DataFrame,
    calm: pd.DataFrame,
    settings: DriftParameters,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import socket

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("drift opened a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    before = np.random.get_state()[1].copy()
    drift_report(calm, reference, settings)
    assert np.array_equal(before, np.random.get_state()[1])
    assert "evidently.telemetry" not in sys.modules


def test_an_optional_column_may_be_absent_and_is_named(
    reference: pd.DataFrame, calm: pd.DataFrame, settings: DriftParameters
) -> None:
    result = drift_report(calm.drop(columns="label"), reference, settings)
    assert result.skipped == ("label",)
    assert "label" not in set(result.table["column"])


def test_categories_compare_across_integer_types(
    reference: pd.DataFrame, calm: pd.DataFrame, settings: DriftParameters
) -> None:
    plain = drift_report(calm, reference, settings).table
    for dtype in ("int8", "float64"):
        other = drift_report(calm.astype({"label": dtype}), reference, settings).table
        pd.testing.assert_frame_equal(plain, other)


def test_bad_tables_are_named(
    reference: pd.DataFrame, calm: pd.DataFrame, settings: DriftParameters
) -> None:
    with pytest.raises(InputError, match="'august' has no rows"):
        drift_report(calm.head(0), reference, settings, "august")
    with pytest.raises(InputError, match="'august' has no column 'noise'"):
        drift_report(calm.drop(columns="noise"), reference, settings, "august")
    with pytest.raises(InputError, match="'reference' has no column 'label'"):
        drift_report(calm, reference.drop(columns="label"), settings)
    holes = calm.assign(noise=calm["noise"].where(calm.index > 2))
    with pytest.raises(InputError, match="'noise' of 'august' holds 3 missing"):
        drift_report(holes, reference, settings, "august")
    with pytest.raises(InputError, match="'noise' of 'current' is not numeric"):
        drift_report(calm.assign(noise="a"), reference, settings)
