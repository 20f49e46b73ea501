import base64
import dataclasses
import hashlib
import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.group_ids import LEVELS
from ptq_pipeline.reporting.first_screen import FirstScreen
from ptq_pipeline.reporting.formats import points
from ptq_pipeline.reporting.page import render_report
from ptq_pipeline.reporting.results import worst_first
from ptq_pipeline.reporting.states import STATES
from ptq_pipeline.reporting.texts import load_texts

TEXTS = load_texts("en")

NAMESPACE = "{http://www.w3.org/1999/xhtml}"
SECTIONS = [
    "diagnosis",
    "reasons", "worst", "lost_images", "distribution", "heat_map", "layers", "strategies", "sets",
    "artifact", "drift", "business", "champion", "reviewer",
]  # fmt: skip


@pytest.fixture(scope="module")
def html(inputs, options):
    return render_report(inputs, options)


@pytest.fixture(scope="module")
def tree(html):
    return ElementTree.fromstring(html.strip())


def words(element):
    return re.sub(r"\s+", " ", "".join(element.itertext())).strip()


def plain(sentence):
    """Give a sentence of the verdict as the page shows it: shifts are words there."""
    return sentence.replace("gaussian_noise", "gaussian noise").replace("image_size", "image size")


def by_id(tree, name):
    return next(element for element in tree.iter() if element.get("id") == name)


def table_rows(section, caption):
    for table in section.iter(f"{NAMESPACE}table"):
        if caption in words(table.find(f"{NAMESPACE}caption")):
            heads = [words(cell) for cell in table.find(f"{NAMESPACE}thead/{NAMESPACE}tr")]
            body = table.find(f"{NAMESPACE}tbody")
            return [
                (row.get("class"), dict(zip(heads, map(words, row), strict=True))) for row in body
            ]
    raise AssertionError(f"no table {caption!r}")


class Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found += [
            value for name, value in attrs if name.rpartition(":")[2] in ("src", "href", "srcset")
        ]


def test_report_is_well_formed_and_small(html, tree):
    assert html.startswith("<!DOCTYPE html>")
    assert tree.tag == f"{NAMESPACE}html"
    assert len(html.encode()) < 3_000_000


def test_what_was_left_out_of_the_audit_is_said(inputs, options):
    counts = {"hidden": 3, "outside_classes": 1, "no_image": 4, "empty_classes": 1, "unreadable": 5}
    definitions = inputs.group_definitions.model_copy(update={"left_out": counts})
    pages = {
        language: render_report(
            dataclasses.replace(inputs, group_definitions=definitions),
            options.model_copy(update={"language": language}),
        )
        for language in ("en", "ja")
    }
    assert "Files in class folders that are no images: 4" in pages["en"]
    assert "\u5fa9\u53f7\u3067\u304d\u306a\u3044\u753b\u50cf\uff1a5" in pages["ja"]


def test_nothing_is_fetched(html):
    links = Links()
    links.feed(html)
    assert links.found
    assert all(link.startswith("#") for link in links.found)
    assert "default-src 'none'" in html
    for pattern in (r"@import", r"url\((?!#)", r"<script[^>]", r"<link", r"<iframe", r"@font-face"):
        assert not re.search(pattern, html), pattern


def test_only_the_one_script_of_the_page_may_run(html):
    scripts = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert len(scripts) == 1
    assert f"script-src 'sha256-{digest}'" in html


def test_every_link_has_its_target_and_ids_are_unique(html, tree):
    ids = [element.get("id") for element in tree.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    links = Links()
    links.feed(html)
    assert {link[1:] for link in links.found} <= set(ids)


def test_the_same_audit_gives_the_same_bytes(html, inputs, options):
    assert render_report(inputs, options) == html


def test_all_sections_stand_in_order_under_one_main_heading(tree):
    headings = [element for element in tree.iter() if re.search(r"}h\d$", element.tag)]
    assert sum(element.tag.endswith("h1") for element in headings) == 1
    sections = [element.get("id") for element in tree.iter(f"{NAMESPACE}section")]
    assert sections == SECTIONS


def test_first_screen_answers_the_manager(tree, inputs):
    screen, verdict = words(by_id(tree, "decision")), inputs.verdict
    assert "✕ FAIL FULL AUDIT Do not ship this quantized model." in screen
    worst, beside = verdict.worst, verdict.average_beside_worst
    assert verdict.worst.key == worst_first(inputs.cells, LEVELS[1:])[0].key
    frequency = TEXTS.frequency(worst.candidate_drop, worst.limit, worst)
    status = inputs.status_of(worst)
    assert TEXTS(f"who.{status}", frequency=frequency, n=worst.n) in screen
    bad, draws = verdict.recipe.shown_bad, verdict.recipe.distinct_draws
    assert status == "open" and f"Of {draws} recalibrations {bad} are shown to break" in screen
    assert beside.shift == worst.shift
    assert f"The average: {TEXTS.frequency(beside.candidate_drop, beside.limit, beside)}" in screen
    for cell in [verdict.worst_by_level["class"], verdict.worst_by_level["segment"], beside]:
        assert f"loses {points(cell.candidate_drop)} points" in screen
        said = f"{points(cell.drop_mean_over_draws)} on average, {points(cell.drop_worst_draw)} in"
        assert said in screen
    assert f"not shown either way (limit {points(worst.limit)})" in screen
    assert plain(verdict.headline).removeprefix("FAIL: ")[1:] in screen
    assert verdict.recipe.statement in screen
    bound = verdict.candidate.worst_groups[0]
    assert f"loses more than {points(bound.drop)} points, at 95 % confidence" in plain(screen)


def test_cards_look_as_what_is_shown_of_their_groups(inputs, options):
    cards = FirstScreen(inputs, options, TEXTS).cards
    status = {
        (cell.level, cell.group, cell.shift): cell.status for cell in inputs.verdict.candidate.cells
    }
    cells = [*inputs.verdict.worst_by_level.values(), inputs.verdict.average_beside_worst]
    if inputs.verdict.worst.level != "intersection":
        cells = [cell for cell in cells if cell.level != "intersection"]
    assert [card.look for card in cards] == [
        STATES[status[cell.level, cell.group, cell.shift]] for cell in cells
    ]
    html = render_report(inputs, options)
    for card in cards:
        assert f'class="card {card.look.mark}"' in html


def test_the_recipe_is_said_with_corrections_and_layers_of_more_bits(full, options):
    given = {"name": "gptq", "weight_bits": 4, "activation_bits": 8}
    given["corrections"] = ["output_matching"]
    # What the configuration leaves out is in the records of trials.
    spec = json.dumps({"model": "m", "method": {**given, "first_last_8_bit": True}})
    quantization = {**full.parameters["quantization"], "method": given}
    changed = dataclasses.replace(
        full,
        parameters={**full.parameters, "quantization": quantization},
        trials=full.trials.assign(spec=spec),
    )
    said = {
        language: FirstScreen(changed, options, load_texts(language)).recipe_words
        for language in ("en", "ja")
    }
    assert said["en"] == (
        "4-bit weights, 8-bit activations, gptq, output matching, first and last layer at 8 bits"
    )
    assert "出力の整合、最初と最後の層は8ビット" in said["ja"]


def test_the_audit_is_identified_by_name_date_and_scope(full, options):
    named = options.model_copy(update={"model_name": "Sorter <7>", "data_name": "May parcels"})
    screen = words(by_id(ElementTree.fromstring(render_report(full, named)), "decision"))
    for text in (
        "Model Sorter <7>",
        "Data May parcels",
        "Recipe 8-bit weights, 4-bit activations, nearest",
        "Runtime openvino",
        "Date 2026-11-26 04:10 UTC",
        "Environment base",
    ):
        assert text in screen
    unnamed = words(by_id(ElementTree.fromstring(render_report(full, options)), "decision"))
    images = full.verdict.average.n
    assert f"Data {images:,} audit images" in unnamed


def test_a_quick_look_says_that_it_cannot_approve(inputs, options, restated):
    recipe = inputs.verdict.recipe.model_copy(update={"draws": 5, "result": "INCONCLUSIVE"})
    changed = restated(inputs, result="INCONCLUSIVE", recipe=recipe)
    screen = words(by_id(ElementTree.fromstring(render_report(changed, options)), "decision"))
    assert "QUICK LOOK: can refuse, cannot approve" in screen
    assert "Run the full audit. Nothing quantized serves yet" in screen
    assert "kedro run" in screen


def test_what_would_settle_it_is_on_the_first_screen(inputs, options, restated):
    changed = restated(inputs, result="INCONCLUSIVE", settle=("Draw 40 more sets.",))
    screen = words(by_id(ElementTree.fromstring(render_report(changed, options)), "decision"))
    assert "? INCONCLUSIVE FULL AUDIT Not decided yet" in screen
    assert "Draw 40 more sets." in screen


def test_a_refusal_has_one_next_step_and_lists_open_questions_below(tree, inputs):
    assert inputs.verdict.settle
    screen = words(by_id(tree, "decision"))
    assert "Search for the recipe whose worst group is best" in screen
    commands = [words(pre) for pre in by_id(tree, "decision").iter(f"{NAMESPACE}pre")]
    assert commands == ["kedro ptq repair"]
    for sentence in inputs.verdict.settle:
        assert plain(sentence) not in screen
        assert plain(sentence) in words(by_id(tree, "reasons"))


def test_sentences_for_the_meeting_hold_this_audits_figures_in_both_languages(tree, inputs):
    screen, cell = by_id(tree, "decision"), inputs.cell(inputs.verdict.worst.key)
    english, other = screen.iter(f"{NAMESPACE}ol")
    assert len(list(english)) == len(list(other)) == 3
    lost = f"{points(cell.drop_min)}", f"{points(cell.drop_max)}"
    for part in (words(english), words(other)):
        for text in (*lost, "256", "50", points(cell.limit), points(cell.drop)):
            assert text in part
    assert "キャリブレーション" in words(other)


def test_a_pass_may_ship(inputs, options, restated):
    changed = restated(inputs, result="PASS", reasons=(), settle=())
    screen = words(by_id(ElementTree.fromstring(render_report(changed, options)), "decision"))
    assert "✓ PASS FULL AUDIT This quantized model may ship." in screen


def test_a_model_that_fails_only_against_the_champion_is_not_called_ready(
    inputs, options, restated
):
    changed = restated(inputs, decision="refuse", result="PASS")
    screen = words(by_id(ElementTree.fromstring(render_report(changed, options)), "decision"))
    assert "not against the model in production" in screen
    assert "may ship" not in screen


def test_reasons_show_rule_group_and_numbers(tree, inputs, options):
    section = by_id(tree, "reasons")
    rows = table_rows(section, "Reasons of the verdict")
    rows += table_rows(section, "Further reasons of the verdict")
    reasons = inputs.verdict.reasons
    assert len(rows) == len(reasons) > options.worst_cells
    for (_, row), reason in zip(rows, reasons, strict=True):
        assert row["Rule"] == reason.rule
        assert row["Reason"] == plain(reason.text)
        assert row["Interval"] == TEXTS.shown(reason.interval, "interval")
        if reason.rule.startswith("candidate."):
            assert row["Observed"] == points(reason.observed, 2)
            assert row["Limit"] == points(reason.limit, 2)
    bad = rows[0][1]
    assert bad["Rule"] == "recipe.bad_draws"
    assert bad["Observed"] == str(inputs.verdict.recipe.shown_bad)
    assert bad["Limit"] == "10.00 %"


def test_all_cells_of_the_verdict_are_in_the_table_with_their_numbers(tree, inputs):
    rows = table_rows(by_id(tree, "worst"), "All groups and shifts")
    shown = {(row["Group"], row["Shift"]): (mark, row) for mark, row in rows}
    cells = inputs.verdict.candidate.cells
    assert len(shown) == len(rows) == len(cells)
    for cell in cells:
        group = "all images" if cell.level == "average" else cell.group
        mark, row = shown[group, cell.shift.replace("_", " ")]
        assert row["n"] == f"{cell.n:,}"
        assert row["Drop, candidate"] == points(cell.drop, 2)
        assert row["Interval"] == TEXTS.shown(cell.interval, "interval")
        assert row["Limit"] == points(cell.limit, 2)
        assert row["Lost"] == str(cell.lost)
        assert (mark == "hatched") == (not cell.judged)
        assert ("NOT JUDGED" in row["Candidate"]) == (not cell.judged)


def test_groups_that_are_not_judged_are_listed_and_hatched(tree, inputs):
    rows = table_rows(by_id(tree, "worst"), "Groups that were not judged")
    listed = inputs.verdict.groups_not_judged
    assert [row["Group"] for _, row in rows] == [group.group for group in listed]
    assert {mark for mark, _ in rows} == {"hatched"}
    assert rows[0][1]["n needed"] == str(listed[0].needed_n)


def test_calibration_sets_are_counted_by_strategy(tree, inputs):
    section = by_id(tree, "sets")
    rows = {row["Strategy"]: row for _, row in table_rows(section, "drawn and rejected")}
    assert rows["random"]["Drawn"] == "51"
    assert rows["random"]["Rejected"] == "1"
    failed = table_rows(section, "Expectations that failed")
    noisy = next(row for _, row in failed if row["Strategy"] == "noisy")
    assert (noisy["Expectation"], noisy["Sets checked"], noisy["Failed"]) == ("noise", "5", "5")


def test_an_expectation_that_raised_is_no_failed_check(inputs, options):
    validation = inputs.calibration_validation.copy()
    validation.loc[0, ["success", "error", "observed"]] = [False, "division by zero", None]
    changed = dataclasses.replace(inputs, calibration_validation=validation)
    section = by_id(ElementTree.fromstring(render_report(changed, options)), "sets")
    row = next(
        row
        for _, row in table_rows(section, "Expectations that failed")
        if row["Strategy"] == "random" and row["Expectation"] == "class shares"
    )
    assert (row["Failed"], row["Raised an error"]) == ("0", "1")


def test_strategies_are_labelled_as_evidence_or_not(tree):
    rows = table_rows(by_id(tree, "strategies"), "Drops by strategy")
    roles = {row["Strategy"]: row["Role"] for _, row in rows}
    assert roles.pop("random") == "recipe (evidence)"
    assert set(roles.values()) == {"comparison (no evidence)"}


def test_parity_and_drift_are_shown(tree, inputs):
    parity = table_rows(by_id(tree, "artifact"), "Agreement of the two runtimes")
    assert [row["Class"] for _, row in parity] == inputs.classes
    drifted = table_rows(by_id(tree, "drift"), "drifted: columns that drifted")
    assert {row["Column"] for _, row in drifted} == {"brightness", "contrast", "tone"}
    assert {row["Result"] for _, row in drifted} == {"DRIFTED"}


def test_reviewer_finds_hashes_policy_and_commands(tree, inputs):
    section = words(by_id(tree, "reviewer"))
    for value in (
        inputs.verdict.policy_hash,
        inputs.decision.hash,
        inputs.decision.verdict_hash,
        inputs.verdict.candidate.trial_id,
        '"p0": 0.1',
        '"activation_bits": 4',
        "make audit",
        "dvc repro",
    ):
        assert value in section


def test_figures_have_words_for_those_who_do_not_see_them(tree):
    figures = list(tree.iter(f"{NAMESPACE}figure"))
    assert len(figures) == 4
    for figure in figures:
        image = figure.find(f"{NAMESPACE}div")
        assert image.get("role") == "img"
        assert len(image.get("aria-label")) > 60
        assert words(figure.find(f"{NAMESPACE}figcaption"))


def test_hostile_names_are_escaped_and_shortened(inputs, options, restated):
    evil = '<script>alert("x")</script>' + "y" * 200
    classes = tuple(evil if n == "Sandal" else n for n in inputs.classes)
    definitions = inputs.group_definitions.model_copy(update={"classes": classes})

    def renamed(cell):
        return cell.model_copy(update={"group": evil})

    candidate = inputs.verdict.candidate
    cells = [renamed(cell) if cell.group == "Sandal" else cell for cell in candidate.cells]
    changed = dataclasses.replace(
        restated(
            inputs,
            headline=evil,
            worst_by_level={"class": renamed(inputs.verdict.worst_by_level["class"])},
            settle=(evil,),
            candidate=candidate.model_copy(update={"cells": tuple(cells)}),
        ),
        worst_case_table=inputs.worst_case_table.replace({"group": {"Sandal": evil}}),
        group_definitions=definitions,
    )
    html = render_report(changed, options.model_copy(update={"title": "<b>&</b>"}))
    tree = ElementTree.fromstring(html)
    assert html.count("<script") == 1
    assert not list(tree.iter(f"{NAMESPACE}b"))
    titles = [element for element in tree.iter() if element.get("title") == evil]
    assert titles
    assert all(len(words(element)) <= options.name_length for element in titles)


def test_long_tables_are_cut_and_say_so(inputs, options):
    html = render_report(inputs, options.model_copy(update={"max_rows": 10}))
    cells = len(inputs.worst_case_table)
    assert f"{cells - 10} more rows are left out here" in html


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("decision", {"verdict_hash": "0" * 64}, "was not made from this verdict"),
        ("verdict", {"headline": "another"}, "was not made from this verdict"),
    ],
)
def test_parts_of_two_audits_are_refused(inputs, options, part, change, message):
    other = getattr(inputs, part).model_copy(update=change)
    changed = dataclasses.replace(inputs, **{part: other})
    with pytest.raises(InputError, match=message):
        render_report(changed, options)


def test_tables_of_another_audit_are_refused(inputs, options):
    scores = inputs.scores[inputs.scores["trial_id"] != inputs.verdict.candidate.trial_id]
    with pytest.raises(InputError, match="no rows in the scores"):
        render_report(dataclasses.replace(inputs, scores=scores), options)
    table = inputs.worst_case_table.assign(drop=0.5)
    with pytest.raises(InputError, match="worst_case_table does not hold"):
        render_report(dataclasses.replace(inputs, worst_case_table=table), options)


def test_an_audit_without_any_finished_trial_still_has_a_report(inputs, options, restated):
    nothing = {"trial_id": None, "set_id": None, "selection_score": None, "cells": ()}
    changed = dataclasses.replace(
        restated(
            inputs,
            result="INCONCLUSIVE",
            headline="INCONCLUSIVE: no class, segment or intersection could be judged.",
            candidate=inputs.verdict.candidate.model_copy(update=nothing),
            worst=None,
            worst_by_level={"class": None, "segment": None, "intersection": None},
            average=None,
            draw_spread=(),
            groups_not_judged=(),
        ),
        worst_case_table=inputs.worst_case_table.iloc[:0],
        scores=inputs.scores.iloc[:0],
        parity=inputs.parity.iloc[:0],
        drift_table=inputs.drift_table.iloc[:0],
        trials=inputs.trials.assign(status="failed", error="out of memory"),
    )
    tree = ElementTree.fromstring(render_report(changed, options))
    assert "No class, segment or intersection could be judged." in words(by_id(tree, "decision"))
    assert "Not measured in this audit." in words(by_id(tree, "artifact"))
    assert "Not measured in this audit." in words(by_id(tree, "drift"))
    failed = table_rows(by_id(tree, "strategies"), "Quantization trials")
    assert failed[0][1]["Failed"] == "50"
    assert failed[0][1]["Error"] == "out of memory"


def test_the_report_in_japanese_has_the_same_numbers_and_no_english_sentence(tree, inputs, options):
    japanese = options.model_copy(update={"language": "ja"})
    other = ElementTree.fromstring(render_report(inputs, japanese))
    assert other.get("lang") == "ja"
    decision = by_id(other, "decision")
    for folded in decision.iter(f"{NAMESPACE}details"):
        if folded.get("lang") == "en":
            folded.clear()
    screen = words(decision)
    assert "この量子化モデルは出荷しないでください。" in screen
    assert not re.search(r"\b(the|of|draws|points)\b", screen)
    numbers = [
        [re.sub(r"\D", "", words(cell)) for cell in each.iter(f"{NAMESPACE}td")]
        for each in (by_id(tree, "worst"), by_id(other, "worst"))
    ]
    assert numbers[0] == numbers[1]
    for row in by_id(other, "reasons").iter(f"{NAMESPACE}tr"):
        assert not re.search(r"\b(the|of|draws|points)\b", words(row))
