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
        ({"columns": {}}, "columns"),
        ({"columns": {"noise": {"method": "ks", "threshold": 0.1}}}, "method"),
        ({"columns": {"noise": {"method": "wasserstein", "threshold": 0}}}, "threshold"),
        ({"columns": {"noise": {"method": "wasserstein"}}}, "threshold"),
    ],
)
def test_wrong_parameters_are_named(change: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DriftParameters.model_validate({**SHIPPED["drift"], **change})
