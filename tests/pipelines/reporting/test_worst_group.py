import base64
import io
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tests.verdicts import make_verdict

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.group_ids import GroupDefinitions
from ptq_pipeline.images.audit_data import AuditData
from ptq_pipeline.pipelines.reporting.worst_group import (
    explain_worst_group,
    gather_lost_images,
    level_of,
    members,
    small_png,
)

TONE = {"tone": {"names": ["dark", "light"]}}


def defined(*classes, **segments):
    classes = classes or ("boot", "shoe & co")
    return GroupDefinitions.read({"classes": classes, "segments": segments or TONE})


DEFINITIONS = defined()
SAMPLES = pd.DataFrame(
    {
        "sample_id": range(8),
        "split": ["pool", "pool", "selection", "audit", "audit", "audit", "audit", "audit"],
        "label": [0, 1, 0, 0, 0, 0, 1, 0],
        "tone": ["dark", "dark", "dark", "dark", "dark", "light", "dark", "dark"],
        "content_hash": "h",
    }
)
FIGURES = {"drop_mean_over_draws": 0.1, "drop_worst_draw": 0.2, "limit": 0.05, "n": 3}


def verdict_of(level, group, shift, **changes):
    worst = {"level": level, "group": group, "shift": shift, **FIGURES}
    return make_verdict("FAIL", "t", "s", worst=worst, **changes)


VERDICT = verdict_of("intersection", "boot & tone=dark", "noise")
# Sample ids 2 to 7 are evaluated. The float model is wrong on 7; the candidate on 2, 4, 5 and 7.
RIGHT = [0, 0, 0, 0, 1, 1]
ANSWERS = [1, 0, 1, 1, 1, 1]


def table(answers, **columns):
    rows = pd.DataFrame({"sample_id": range(2, 8), "predicted": answers, "shift": "noise"})
    return rows.assign(**columns)


def gathered(verdict=VERDICT, definitions=DEFINITIONS, **changes):
    chosen = SimpleNamespace(
        manifest=SimpleNamespace(sample_ids=(1, 0)), images=np.full((2, 1, 4, 4), 9, np.uint8)
    )
    given = {
        "stressed": {"noise": np.arange(6, dtype=np.uint8).repeat(16).reshape(6, 1, 4, 4)},
        "float_predictions": table(RIGHT),
        "predictions": table(ANSWERS, trial_id="t"),
        "calibration_sets": {"s": chosen},
    }
    data = AuditData(SAMPLES, np.zeros((8, 1, 4, 4), np.uint8), definitions=definitions)
    return gather_lost_images(verdict, data, **(given | changes)).to_json()


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(png))))


def test_only_audit_images_that_the_float_model_gets_right_are_lost():
    found = gathered()
    assert (found["n"], found["lost_count"]) == (3, 1)
    (lost,) = found["lost"]
    assert (lost["sample_id"], lost["label"], lost["answer"]) == (4, "boot", "shoe & co")
    assert (pixels(lost["png"]) == 2).all(), "shown as the model saw it: under the shift"


def test_a_control_value_is_looked_at_on_unchanged_images():
    controlled = defined(tone={"names": ["light"], "control": True})
    found = gathered(
        verdict_of("class", "boot", "tone=light"),
        controlled,
        float_predictions=table(RIGHT).assign(shift="clean"),
        predictions=table(ANSWERS, trial_id="t").assign(shift="clean"),
    )
    assert found["group"]["shift"] == "tone=light"
    assert (found["n"], [image["sample_id"] for image in found["lost"]]) == (1, [5])


def test_beside_them_stand_the_groups_own_calibration_images():
    found = gathered()
    assert (found["calibration_count"], found["set_size"]) == (1, 2)
    assert found["calibration"][0]["sample_id"] == 0
    assert (pixels(found["calibration"][0]["png"]) == 9).all()


def test_without_a_candidate_there_is_nothing_to_show():
    nothing = make_verdict("FAIL", None, None)
    assert gathered(nothing)["lost"] == []
    assert explain_worst_group(nothing, AuditData(SAMPLES, None), None, {}).empty


def test_predictions_of_another_audit_are_refused():
    with pytest.raises(InputError, match="candidate t has no predictions.*two audits"):
        gathered(predictions=table(ANSWERS, trial_id="other"))


@pytest.mark.parametrize(("shape", "size"), [((1, 300, 150), (48, 96)), ((3, 8, 8), (8, 8))])
def test_large_images_are_made_small_and_small_ones_stay(shape, size):
    image = Image.open(io.BytesIO(base64.b64decode(small_png(np.zeros(shape, np.uint8)))))
    assert image.size == size


@pytest.mark.parametrize(
    ("name", "found", "count"),
    [
        ("boot", ("class", "boot"), 6),
        ("class boot", ("class", "boot"), 6),
        ("tone=dark", ("segment", "tone=dark"), 7),
        ("shoe & co & tone=dark", ("intersection", "shoe & co & tone=dark"), 2),
        ("all", ("average", "all"), 8),
    ],
)
def test_a_group_is_found_by_its_name(name, found, count):
    assert level_of(DEFINITIONS, name) == found
    assert members(SAMPLES, DEFINITIONS, *found).sum() == count


def test_a_group_of_several_segments_is_found():
    definitions = defined(**TONE, split={"names": ["pool", "audit"]})
    for name, count in {"tone=dark & split=audit": 4, "boot & tone=dark & split=audit": 3}.items():
        found = level_of(definitions, name)
        assert found == ("intersection", name)
        assert members(SAMPLES, definitions, *found).sum() == count


def test_a_name_that_a_class_and_a_segment_share_asks_for_the_level():
    definitions = defined("boot", "tone=dark")
    with pytest.raises(InputError, match="write 'class tone=dark' or 'segment tone=dark'"):
        level_of(definitions, "tone=dark")
    assert level_of(definitions, "segment tone=dark") == ("segment", "tone=dark")


def test_two_groups_of_one_name_are_refused_wherever_members_are_asked_for():
    samples = SAMPLES.assign(**{"a": "b=c", "a=b": "c"})
    definitions = defined(**{"a": {"names": ["b=c"]}, "a=b": {"names": ["c"]}})
    with pytest.raises(InputError, match="two groups are called 'a=b=c'"):
        members(samples, definitions, "segment", "a=b=c")


def test_an_unknown_group_names_those_that_there_are():
    with pytest.raises(InputError, match="no group 'hat'; the groups are boot, shoe & co, tone"):
        members(SAMPLES, DEFINITIONS, *level_of(DEFINITIONS, "hat"))
    assert level_of(DEFINITIONS, "class hat") == ("class", "hat")
