import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.group_ids import GroupDefinitions
from ptq_pipeline.core.grouping import SubgroupScoringParameters
from ptq_pipeline.pipelines.subgroup_scoring import create_pipeline
from ptq_pipeline.pipelines.subgroup_scoring.nodes import define_groups, score_groups

DEFINITIONS = GroupDefinitions.read(
    {
        "classes": ["boot", "bag"],
        "segments": {"tone": {"names": ["dark", "light"]}, "size": {"names": ["small", "large"]}},
    }
)


@pytest.fixture
def samples():
    position = np.arange(80)
    return pd.DataFrame(
        {
            "sample_id": position,
            "split": np.where(position < 40, "selection", "audit"),
            "label": position % 2,
            "tone": np.where(position % 4 < 2, "dark", "light"),
            "size": np.where(position % 8 < 4, "small", "large"),
        }
    )


def define(samples, **parameters):
    parameters.setdefault("intersection_min_size", 1)
    return define_groups(samples, DEFINITIONS, SubgroupScoringParameters(**parameters))


def test_all_segments_by_default_and_the_chosen_ones_otherwise(samples):
    every = define(samples).by_level()
    assert every["segment"] == ["tone=dark", "tone=light", "size=small", "size=large"]
    assert len(every["intersection"]) == 8
    assert define(samples, segments=("size",)).by_level()["segment"] == ["size=small", "size=large"]
    assert define(samples, segments=()).by_level().keys() == {"average", "class"}


def test_unknown_segment_is_named(samples):
    with pytest.raises(InputError, match="segment 'colour' does not exist; .* 'tone', 'size'"):
        define(samples, segments=("colour",))


def test_unknown_parameter_is_refused():
    with pytest.raises(ValidationError, match="min_size"):
        SubgroupScoringParameters(min_size=3)


def test_scores_of_a_trial_that_loses_one_class(samples):
    groups = define(samples, segments=(), intersections=False)
    answers = samples[["sample_id"]].assign(shift="clean", predicted=samples["label"])
    predictions = answers.assign(trial_id="t", predicted=0)
    trials = pd.DataFrame(
        {
            "trial_id": ["t"],
            "set_id": ["s"],
            "strategy": ["random"],
            "role": ["evidence"],
            "draw": [0],
            "status": ["done"],
        }
    )
    scores = score_groups(predictions, answers, groups, trials)
    audit = scores[scores["split"] == "audit"].set_index("group")
    assert audit["n"].to_dict() == {"all": 40, "boot": 20, "bag": 20}
    assert audit["drop"].to_dict() == {"all": 0.5, "boot": 0.0, "bag": 1.0}


def test_groups_need_no_predictions():
    nodes = {node.name: node for node in create_pipeline().nodes}
    assert "predictions" not in nodes["define_groups"].inputs
    assert create_pipeline().outputs() == {"scores"}
