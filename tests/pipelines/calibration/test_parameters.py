import pytest
import yaml
from pydantic import ValidationError

from ptq_pipeline.calibration.parameters import CalibrationParameters
from ptq_pipeline.calibration.strategies import STRATEGIES
from ptq_pipeline.core.errors import InputError

GIVEN = {"seed": 1, "validation": {"features": ["brightness"]}}


def validate(**changes):
    return CalibrationParameters.model_validate({**GIVEN, **changes})


def test_shipped_parameters_are_valid(project):
    text = (project / "conf/base/parameters_calibration.yml").read_text()
    parameters = CalibrationParameters.model_validate(yaml.safe_load(text)["calibration"])
    drawn = {parameters.strategy, *parameters.comparison_strategies}
    assert drawn == {"random", "class_balanced", "class_biased", "segment_biased", "noisy"}
    assert drawn < set(STRATEGIES)
    assert (parameters.set_size, parameters.draws, parameters.most_draws) == (256, 50, 100)


def test_options_reach_the_plans():
    given = validate(options={"noisy": {"sigma": 0.3}}, comparison_strategies=["noisy", "hard"])
    assert [plan.strategy.name for plan in given.comparisons] == ["noisy", "hard"]
    assert given.comparisons[0].strategy.sigma == 0.3
    assert given.recipe.strategy.name == "random"
    assert (given.most_draws, validate(max_draws=70).most_draws) == (100, 70)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sett_size": 3}, "sett_size"),
        ({"set_size": 0}, "set_size"),
        ({"draws": 0}, "draws"),
        ({"draws": 10, "max_draws": 9}, "max_draws .9. is less than draws .10."),
        ({"strategy": "noisy", "comparison_strategies": ["noisy"]}, "cannot also be"),
        ({"comparison_strategies": ["noisy", "noisy"]}, "named twice"),
        ({"augmentation": {"kind": "snow"}}, "perturbation 'snow'"),
        ({"strategy": "lucky"}, "strategy 'lucky' is unknown"),
        ({"options": {"lucky": {}}}, "strategy 'lucky' is unknown"),
        ({"options": {"noisy": {"sigma": 3}}}, "option 'sigma'"),
        ({"options": {"noisy": {"sigmas": 3}}}, "option 'sigmas'"),
        ({"validation": {"features": []}}, "features"),
        ({"validation": {"features": ["a", "a"]}}, "named twice"),
        (
            {"validation": {"features": ["a"], "family_wise_level": 0.01, "simulated_draws": 500}},
            "cannot be resolved",
        ),
    ],
)
def test_bad_parameter_is_named(changes, message):
    with pytest.raises((ValidationError, InputError), match=message):
        validate(**changes)
