import math
import re
import string
from pathlib import Path

import pytest

import ptq_pipeline.reporting
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.judgement.sentences import ENGLISH, Sentence, place_value, say
from ptq_pipeline.reporting.formats import clean_text, count, number, points, shorten
from ptq_pipeline.reporting.texts import Texts, available_languages, load_texts

SOURCES = sorted(Path(ptq_pipeline.reporting.__file__).parent.rglob("*"))


def test_text_is_filled_and_counts_choose_the_form():
    texts = Texts({"a": {"plain": "{x}!", "draws": {"one": "{n} draw", "many": "{n} draws"}}})
    assert texts("a.plain", x="hello") == "hello!"
    assert texts("a.draws", n=1) == "1 draw"
    assert texts("a.draws", n=50) == "50 draws"


def test_missing_text_is_an_error():
    with pytest.raises(KeyError, match="nowhere"):
        load_texts("en")("nowhere")


def test_unknown_language_says_which_there_are():
    with pytest.raises(InputError, match=r"'xx'.*reporting\.language.*en"):
        load_texts("xx")


def test_every_text_named_in_code_and_templates_exists():
    texts = load_texts("en")
    stems = {key.removesuffix(".one").removesuffix(".many") for key in texts.keys()}
    named = set()
    for path in SOURCES:
        if path.suffix in (".py", ".j2"):
            source = path.read_text(encoding="utf-8")
            named |= set(
                re.findall(r"""\b(?:t|texts)\(\s*["'](\w+\.[\w.]*\w)["']\s*[,)]""", source)
            )
    assert len(named) > 60
    assert named - {"a.plain"} <= stems


def test_a_text_with_one_form_has_the_other():
    keys = load_texts("en").keys()
    for key in keys:
        stem, _, form = key.rpartition(".")
        if form in ("one", "many"):
            assert {f"{stem}.one", f"{stem}.many"} <= keys


def places(text):
    """Return the names of all values, also of those inside another one's format."""
    parts = [(name, spec) for _, name, spec, _ in string.Formatter().parse(text) if name]
    return {name for name, _ in parts}.union(*(places(spec) for _, spec in parts))


@pytest.mark.parametrize("language", available_languages())
def test_every_language_has_the_same_texts_with_the_same_places(language):
    english, other = load_texts("en"), load_texts(language)
    keys = {key for key in other.keys() if not key.startswith(("names.", "sentence."))}
    assert keys == english.keys()
    for key in keys:
        # A plural form may leave its number out, as "One draw" does.
        surplus = places(other.template(key)) - places(english.template(key))
        assert surplus <= {"n"}, key


@pytest.mark.parametrize("language", set(available_languages()) - {"en"})
def test_every_language_says_every_sentence_with_no_other_values(language):
    texts = load_texts(language)
    said_there = {key.removeprefix("sentence.") for key in texts.keys() if key[:9] == "sentence."}
    assert said_there == set(ENGLISH)
    for key, english in ENGLISH.items():
        assert places(texts.template(f"sentence.{key}")) <= places(english), key


# Of the engine and of files: the report has no need of them.
NOT_IN_THE_REPORT = {
    *("AdaRound", "batch-norm folding", "block reconstruction", "clip rate", "control", "gate"),
    *("fake quantization", "ledger", "margin", "non-inferiority", "observer, range estimator"),
    *("per-channel, per-tensor", "scale, zero point", "sampled draw"),
    "pool, reference, selection",
}


def test_the_report_says_the_words_of_the_glossary():
    project = Path(__file__).parents[2]
    rows = re.findall(
        r"^\| (.+?) \| .+ \| (.+?) \|$", (project / "docs/glossary.md").read_text(), re.M
    )
    spoken = {term: words for term, words in rows[1:] if term not in NOT_IN_THE_REPORT}
    japanese = (project / "src/ptq_pipeline/reporting/templates/ja.toml").read_text()
    assert len(spoken) > 25
    assert [w for words in spoken.values() for w in words.split(" / ") if w not in japanese] == []
    # Other words for the same, and a dash that some fonts draw as another one.
    assert [
        w for w in ("校正", "シフト", "クラスター", "昇格", "判定せず", "〜") if w in japanese
    ] == []


def test_sentences_of_the_verdict_are_said_in_japanese():
    texts = load_texts("ja")
    cell = place_value(("class", "Sandal", "gaussian_noise"))
    sentence = say("candidate.shown_bad", cell=cell, limit=0.06, drop=0.129, n=1800)
    assert texts.said(sentence.text, sentence) == (
        "クラス「Sandal」（ガウスノイズ）の低下は許容限度6.0ポイントを超えることを確認しました：1,800枚で12.9ポイント。"
    )
    group = place_value(("intersection", "a under b & c=d"))
    sentence = say("settle.group_samples", more=40, group=group)
    assert texts.said(sentence.text, sentence) == (
        "複合グループ「a under b & c=d」の監査画像があと40枚あれば判定できます。"
    )


def test_the_headline_says_how_sure_its_mean_over_draws_is(inputs):
    verdict = inputs.verdict
    texts = load_texts("en")
    plain = texts.headline(verdict)
    worst = verdict.worst.model_copy(update={"mean_interval": (0.0213, 0.0834)})
    sure = verdict.model_copy(update={"worst": worst})
    said = texts.headline(sure)
    assert said.startswith(plain) and "2.1 to 8.3 points, at 95\u00a0% confidence" in said
    assert f"the worst of {len(verdict.candidate.cells)} groups and shifts." in said
    assert "2.1～8.3ポイントです（信頼度95%）" in load_texts("ja").headline(sure)
    recipe = verdict.recipe.model_copy(update={"result": "NONE"})
    one_model = sure.model_copy(update={"recipe": recipe})
    assert texts.headline(one_model) == plain


def test_what_has_no_key_stays_as_it_is():
    texts = load_texts("ja")
    assert texts.said("Of an older file.", None) == "Of an older file."
    assert texts.said("Newer.", Sentence(key="not.yet")) == "Newer."
    sentence = say("nothing_judged")
    assert load_texts("en").said(sentence.text, sentence) == sentence.text


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0876, "8.8"),
        (-0.001, "−0.1"),
        (-0.0001, "0.0"),
        (0.0, "0.0"),
        (None, "–"),
        (math.nan, "–"),
    ],
)
def test_points_are_rounded_and_missing_is_never_zero(value, shown):
    assert points(value) == shown


def test_counts_and_percentages_are_grouped_for_reading():
    assert count(8000) == "8,000"
    assert count(None) == "–"
    assert load_texts("en").percent(0.93456, 2) == "93.46\u00a0%"


def test_interval_needs_both_ends():
    assert load_texts("en").interval([0.06, 0.121]) == "6.0 to 12.1"
    assert load_texts("en").interval([0.06, None]) == "–"
    assert load_texts("en").interval(None) == "–"


def test_small_numbers_keep_significant_digits():
    assert number(0.0312) == "0.0312"
    assert number(0.0000123) == "1.23e−5"
    assert number(-0.5) == "−0.5"


def test_shorten_cuts_the_middle_to_the_length_asked_for():
    name = "a" * 100 + " & tone=dark"
    short = shorten(name, 40)
    assert len(short) <= 40
    assert short.startswith("aaa")
    assert short.endswith("tone=dark")
    assert "…" in short


def test_shorten_counts_a_wide_character_as_two():
    assert shorten("ふかいみどりいろのうわぎ", 12) == "ふかい…わぎ"
    assert shorten("うわぎ", 6) == "うわぎ"


def test_shorten_leaves_short_names_alone():
    assert shorten("Ankle boot", 10) == "Ankle boot"


def test_shorten_needs_room():
    with pytest.raises(ValueError, match="at least 3"):
        shorten("Sandal", 2)


def test_clean_text_gives_one_line_that_xml_and_terminals_can_show():
    assert clean_text("a\x00b\n\tc\u202ed\x1b[31m") == "ab cd[31m"
