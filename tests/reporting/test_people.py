"""What the engineer, the manager and the reviewer find beside the verdict's own tables."""

import base64
import dataclasses
import io
import re
from xml.etree import ElementTree

import pytest
from PIL import Image

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.judgement.business import BreakEven
from ptq_pipeline.reporting.business import Worth
from ptq_pipeline.reporting.diagnosis import Diagnosis
from ptq_pipeline.reporting.formats import points
from ptq_pipeline.reporting.page import render_report
from ptq_pipeline.reporting.texts import load_texts

NAMESPACE = "{http://www.w3.org/1999/xhtml}"
LATIN_SENTENCE = re.compile(r"\b[A-Za-z]{2,}(?: [a-z]{2,}){3,}\b")


def section(html, name):
    tree = ElementTree.fromstring(html)
    return next(element for element in tree.iter() if element.get("id") == name)


def words(element):
    return " ".join(" ".join(element.itertext()).split())


@pytest.fixture(scope="module")
def html(full, options):
    return render_report(full, options)


def test_the_manager_reads_what_it_saves_and_risks_on_the_first_screen(html, full):
    screen = words(section(html, "decision"))
    view = full.verdict.business
    assert f"saves {view.saving:,.0f} EUR of serving" in screen
    assert f"loses {view.loss:,.0f} EUR by added errors" in screen
    assert f"Errors cost most in {view.worst_group}" in screen
    assert "The file is 0.34 times as large (386 KiB for 1,121 KiB)" in screen
    assert (
        "One image alone: 2.5 times as fast as the float model (2.2 to 2.6 in 5 rounds)" in screen
    )
    assert "Batches of 250 images: measured unreliably here, 0.7 to 3.1 times as fast" in screen
    assert "Against version v0001, which serves today: FAIL" in screen


def test_without_prices_the_first_screen_says_where_to_set_them(inputs, options):
    screen = words(section(render_report(inputs, options), "decision"))
    assert "in the parameters 'business'" in screen
    assert "Nothing serves yet" in screen
    assert "KiB" not in screen


def money(full, options, language="en", **changes):
    view = full.verdict.business.model_copy(update=changes)
    verdict = full.verdict.model_copy(update={"business": view})
    return Worth(dataclasses.replace(full, verdict=verdict), options, load_texts(language)).money


@pytest.mark.parametrize("language", ["en", "ja"])
def test_the_balance_has_three_answers(full, options, language):
    answers = ("saves", "costs", "open")
    assert len({money(full, options, language, says=each)[0] for each in answers}) == 3


def test_what_never_comes_back_is_not_said_to(full, options):
    even = BreakEven(drop=0.01, cost_factor=None, months=None)
    lines = money(full, options, break_even=even)
    assert any("a drop of 1.00 points in every group" in line for line in lines)
    assert not any("months" in line for line in lines)


def test_business_is_shown_by_group_with_its_assumptions(html, full):
    part = words(section(html, "business"))
    for group in full.verdict.business.groups:
        assert group.group in part
    for sentence in full.verdict.business.assumptions:
        assert sentence in part


def test_lost_images_are_small_pictures_with_words(html, full):
    images = list(section(html, "lost_images").iter(f"{NAMESPACE}img"))
    assert len(images) == 15
    assert images[0].get("alt") == "Lost image 1: is Sandal, the candidate answers Sneaker"
    for image in images:
        kind, _, content = image.get("src").partition(",")
        assert kind == "data:image/png;base64"
        assert Image.open(io.BytesIO(base64.b64decode(content))).size == (28, 28)
    assert "loses 46" in words(section(html, "lost_images"))
    assert len(html.encode()) < 3_000_000


def test_the_file_its_speed_and_its_layers_are_shown(html):
    artifact, layers = (words(section(html, name)) for name in ("artifact", "layers"))
    for text in ("model.xml, model.bin", "22,000", "0.21", "openvino 2026.4", "x86_64 avx2"):
        assert text in artifact
    assert "blocks.0.conv1 9.00 % 1.00 % 3.00 % 0.10 %" in layers
    assert "2 more rows are left out" in layers


def diagnosed(audit, options):
    return words(section(render_report(audit, options), "diagnosis"))


def test_the_diagnosis_concludes_with_figures(full, options):
    said = diagnosed(full, options)
    cell = full.cell(full.verdict.worst.key)
    assert f"{points(cell.drop_min)} to {points(cell.drop_max)}" in said or (
        f"between {points(cell.drop_min)} and {points(cell.drop_max)} points" in said
    )
    assert "Sandal → Sneaker: 40 of 46 lost images" in said
    assert "Layer blocks.0.conv1 stands out: the worst group's error there is 9.0 times" in said
    own = full.scores.query(
        "split == 'selection' and role == 'evidence' and level == @cell.level "
        "and group == @cell.group and shift == @cell.shift"
    )
    assert f"the recipe's own {points(own['drop'].mean())}" in said


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"drop_min": 0.07, "drop_max": 0.09, "limit": 0.03}, "It is the recipe, not the luck"),
        ({"drop_min": 0.01, "drop_max": 0.09, "limit": 0.03}, "Some calibrations are better"),
        ({"drop_min": 0.01, "drop_max": 0.02, "limit": 0.03}, "stays within its limit"),
    ],
)
def test_luck_and_system_are_told_apart(full, options, change, words):
    key, table = full.verdict.worst.key, full.worst_case_table.copy()
    here = (table[["level", "group", "shift"]] == list(key)).all(axis=1)
    for column, value in change.items():
        table.loc[here, column] = value
    changed = dataclasses.replace(full, worst_case_table=table)
    assert words in Diagnosis(changed, options, load_texts("en")).systematic


def test_no_layer_is_said_to_stand_out_where_none_does(full, options):
    layers = full.worst_group_layers.assign(error_all=full.worst_group_layers["error_group"] / 1.1)
    said = Diagnosis(
        dataclasses.replace(full, worst_group_layers=layers), options, load_texts("en")
    )
    assert "No layer stands out: the worst group's error is at most 1.1 times" in said.layers


def test_the_comparison_with_what_serves_names_reasons_groups_and_what_is_missing(html, full):
    part = words(section(html, "champion"))
    assert full.champion_comparison.reasons[0].text.replace("_", " ") in part.replace("_", " ")
    assert "Shifts that could not be compared: fog" in part


def test_the_reviewer_finds_the_log_the_versions_and_the_seed(html, full):
    part = words(section(html, "reviewer"))
    assert "2026-11-22 02:00 UTC waiver candidate.limit" in part
    assert "<b>not sold</b> before May" in part
    assert "(with changes that are not committed)" in part
    assert "ptq-pipeline 0.1.0" in part
    candidate = full.verdict.candidate.set_id
    index = full.calibration_set_index.set_index("set_id")
    assert f"Seed of its calibration set {index.loc[candidate, 'seed']}" in part


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("champion_comparison", {"result": "PASS"}, "champion_comparison.json"),
        ("candidate_execution", {"trial_id": "other"}, "pipeline promotion again"),
        ("candidate_speed", {"trial_id": "other"}, "candidate_speed.json is about trial 'other'"),
        ("lost_images", {"trial_id": "other"}, "pipeline reporting again"),
    ],
)
def test_parts_of_another_audit_are_refused(full, options, name, change, message):
    other = getattr(full, name).model_copy(update=change)
    changed = dataclasses.replace(full, **{name: other})
    with pytest.raises(InputError, match=message):
        render_report(changed, options)


def test_a_class_list_in_another_order_is_refused(full, options):
    classes = (*full.classes[1::-1], *full.classes[2:])
    swapped = full.group_definitions.model_copy(update={"classes": classes})
    with pytest.raises(InputError, match=r"Trouser, T-shirt/top.*T-shirt/top, Trouser.*order"):
        render_report(dataclasses.replace(full, group_definitions=swapped), options)


def test_no_english_sentence_is_left_in_the_japanese_report(full, options):
    japanese = options.model_copy(update={"language": "ja"})
    tree = ElementTree.fromstring(render_report(full, japanese))
    body = next(tree.iter(f"{NAMESPACE}body"))
    for folded in body.iter(f"{NAMESPACE}details"):
        if folded.get("lang") == "en":
            # What can be said in a meeting, in the other language.
            folded.clear()
    left = [
        text
        for element in body.iter()
        if element.tag.removeprefix(NAMESPACE) not in ("script", "style", "pre")
        for text in [element.text, element.tail, element.get("alt"), element.get("aria-label")]
        if text and LATIN_SENTENCE.search(text)
    ]
    assert left == []
    assert "2026年11月22日 02:00（UTC）" in words(body)


def test_the_search_for_english_finds_a_sentence():
    assert LATIN_SENTENCE.search("低下 Nothing serves yet, so there is nothing")
    assert not LATIN_SENTENCE.search("class balanced Ankle boot 0.52 ms openvino")
