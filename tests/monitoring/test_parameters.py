from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from ptq_pipeline.monitoring.parameters import DriftParameters

SHIPPED = yaml.safe_load(
    (Path(__file__).parents[2] / "conf/base/parameters_drift.yml").read_text(encoding="utf-8")
)


def test_the_shipped_parameters_are_valid() -> None:
    parameters = DriftParameters.model_validate(SHIPPED["drift"])
    assert parameters.windows == ("calm", "drifted")
    assert set(SHIPPED) == {"drift"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"treshold": 1}, "treshold"),
        ({"resamples": 150}, "resamples are too few"),
        ({"windows": ["calm", "calm"]}, "windows must differ"),
        ({"columns": {"noise": {"method": "ks", "threshold": 0.1}}}, "method"),
        ({"columns": {"noise": {"method": "wasserstein", "threshold": 0}}}, "threshold"),
        ({"columns": {"noise": {"method": "wasserstein"}}}, "threshold"),
    ],
)
def test_wrong_parameters_are_named(change: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DriftParameters.model_validate({**SHIPPED["drift"], **change})


def test_what_is_compared_follows_the_segments() -> None:
    columns = DriftParameters.model_validate(SHIPPED["drift"]).following(["customer"]).columns
    assert list(columns)[:4] == ["label", "predicted", "customer", "brightness"]
    assert len(columns) == 20 and columns["customer"].method == "jensenshannon"
    assert [name for name, how in columns.items() if how.optional] == ["label"]


def test_named_columns_are_compared_alone() -> None:
    noise = {"noise": {"method": "wasserstein", "threshold": 0.2}}
    parameters = DriftParameters.model_validate({**SHIPPED["drift"], "columns": noise})
    assert list(parameters.following(["customer"]).columns) == ["noise"]
