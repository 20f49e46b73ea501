import re
from pathlib import Path

import pytest

import ptq_pipeline.reporting
from ptq_pipeline.errors import InputError
from ptq_pipeline.reporting.texts import Texts, load_texts

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
