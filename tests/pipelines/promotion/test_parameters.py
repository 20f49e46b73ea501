from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from ptq_pipeline.pipelines.promotion.parameters import PromotionParameters


def test_the_shipped_parameters_are_valid(project: Path) -> None:
    text = (project / "conf/base/parameters_promotion.yml").read_text(encoding="utf-8")
    content = yaml.safe_load(text)
    assert set(content) == {"promotion"}
    PromotionParameters.model_validate(content["promotion"])


@pytest.mark.parametrize(
    "content", [{}, {"environment": ""}, {"environment": "base", "force": True}]
)
def test_wrong_parameters_are_refused(content: dict) -> None:
    with pytest.raises(ValidationError):
        PromotionParameters.model_validate(content)
