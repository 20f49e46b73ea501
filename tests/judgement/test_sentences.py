import json
import re
from pathlib import Path
from string import Formatter

import pytest

import ptq_pipeline
from ptq_pipeline.judgement.sentences import ENGLISH, Sentence, place_value, say

SOURCES = sorted(Path(ptq_pipeline.__file__).parent.rglob("*.py"))


def test_a_sentence_is_the_same_after_a_round_trip_through_json():
    sentence = say(
        "candidate.shown_bad",
        cell=place_value(("class", "Sandal", "gaussian_noise")),
        limit=0.06,
        drop=0.129,
        n=800,
    )
    assert sentence.text == (
        "The drop of class Sandal under gaussian_noise is shown to exceed its limit of 6.0 points: "
        "12.9 points on 800 samples."
    )
    read = Sentence(**json.loads(json.dumps(sentence.to_json())))
    assert read == sentence


@pytest.mark.parametrize(
    ("key", "values", "text"),
    [
        ("settle.trials", {"some": 1}, "The trials of 1 accepted calibration set."),
        (
            "ledger.again",
            {"index": 12, "bound": 0.6, "alpha": 0.05},
            "This is the 12th question asked of these audit images; that some one of 12 passes "
            "wrongly has a chance of up to 60 %, not 5 %.",
        ),
        (
            "audit_reused",
            {"before": 2},
            "These audit images were asked 2 other questions before, and policy asks for fresh "
            "ones (ledger.rule: fresh).",
        ),
    ],
)
def test_counts_places_and_shares_are_said_in_english(key, values, text):
    assert say(key, **values).text == text


def test_a_rounded_zero_has_no_minus():
    cell = place_value(("average", "all", "clean"))
    assert ": 0.0 points on" in say("candidate.open", cell=cell, limit=0.01, drop=-1e-9, n=9).text


def test_every_sentence_that_is_said_exists_and_every_one_that_exists_is_said():
    named = set()
    for path in SOURCES:
        if path.name != "sentences.py":
            source = path.read_text(encoding="utf-8")
            named |= set(re.findall(r'"([a-z_]+(?:\.[a-z_]+)?)"', source)) & set(ENGLISH)
            named |= {key for key in re.findall(r'\bsay\(\s*"([^"]+)"', source)}
    assert named == set(ENGLISH)


def test_kinds_of_values_are_known():
    for key, template in ENGLISH.items():
        for _, name, spec, _ in Formatter().parse(template):
            if name and not spec.startswith("+"):
                kind = spec.partition(".")[0]
                assert kind in {
                    *("", "name", "count", "points", "percent", "floor_percent"),
                    *("ordinal", "group", "cell", "unjudged", "loss", "at_most"),
                }, key
