import numpy as np
import pandas as pd
import pytest

from ptq_pipeline.core.groups import build_groups
from ptq_pipeline.core.outcomes import Outcomes
from ptq_pipeline.judgement.summary import group_components

IDS = np.arange(400)
SAMPLES = pd.DataFrame({"sample_id": IDS, "split": "audit", "label": IDS % 2}).assign(
    tone=np.where(IDS % 4 < 2, "dark", "light")
)
GROUPS = build_groups(SAMPLES, ("boot", "bag"), {"tone": ("dark", "light")})
FLOAT = SAMPLES[["sample_id"]].assign(shift="clean", predicted=SAMPLES["label"])


def answers(name, wrong):
    predicted = np.where(wrong, 1 - SAMPLES["label"], SAMPLES["label"])
    return FLOAT.assign(trial_id=name, predicted=predicted)


def found(*parts, **options):
    names = [part["trial_id"].iloc[0] for part in parts]
    rows = group_components(Outcomes.pair(pd.concat(parts), FLOAT, GROUPS), names, **options)
    return {each.group: each for each in rows}


def test_boots_differ_by_draw_and_bags_by_image():
    boots, bags = IDS % 2 == 0, IDS % 2 == 1
    always = bags & (IDS < 100)
    here = found(
        answers("a", always), answers("b", always | boots & (IDS < 200)), answers("c", always)
    )
    assert set(here) == {"all", "boot", "bag", "tone=dark", "tone=light"}
    assert (here["bag"].n, here["bag"].draws) == (200, 3)
    # The same bags are lost in every draw: the next draw loses them too, other images may differ.
    assert here["bag"].sd_between_draws == here["bag"].draw_share == 0
    assert here["bag"].sd_between_image_sets == pytest.approx(np.sqrt(0.25 * 0.75 / 199), rel=1e-6)
    assert here["boot"].draw_share > 0.9


def test_only_chosen_groups_and_no_spread_of_one_draw():
    nobody = np.zeros(len(IDS), bool)
    one = answers("a", nobody)
    assert found(one) == {}
    assert set(found(one, answers("b", nobody), only=[("class", "bag")])) == {"bag"}
