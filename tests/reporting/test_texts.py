import re
import string
from pathlib import Path

import pytest

import ptq_pipeline.reporting
from ptq_pipeline.errors import InputError
from ptq_pipeline.reporting.texts import Texts, available_languages, load_texts
from ptq_pipeline.reporting.wording import localised

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
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


@pytest.mark.parametrize("language", available_languages())
def test_every_language_has_the_same_texts_with_the_same_places(language):
    english, other = load_texts("en"), load_texts(language)
    keys = {key for key in other.keys() if not key.startswith("names.")}
    assert keys == english.keys()
    for key in keys:
        # A plural form may leave its number out, as "One draw" does.
        surplus = places(other.template(key)) - places(english.template(key))
        assert surplus <= {"n"}, key


@pytest.mark.parametrize(
    ("english", "japanese"),
    [
        (
            "The drop of class Sandal under gaussian_noise is shown to exceed its limit of 6.0 "
            "points: 12.9 points on 800 samples.",
            "クラス「Sandal」（ガウスノイズ）の低下は許容限度6.0ポイントを超えると示されました：800枚で12.9ポイント。",
        ),
        (
            "40 more audit samples of intersection a under b & c=d would let it be judged.",
            "交差グループ「a under b & c=d」の監査画像があと40枚あれば判定できます。",
        ),
        ("A sentence that nobody knows.", "A sentence that nobody knows."),
    ],
)
def test_sentences_of_the_verdict_are_said_in_japanese(english, japanese):
    assert localised(load_texts("ja"), english) == japanese
    assert localised(load_texts("en"), english) == english
