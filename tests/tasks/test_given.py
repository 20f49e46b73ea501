import io

import numpy as np
import pandas as pd
import pytest
from tests.tasks.tables import answers, right_or_wrong, scores

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.tally import tally
from ptq_pipeline.tasks.given import Crossing, given_outcomes
from ptq_pipeline.tasks.joining import read_outcomes
from ptq_pipeline.tasks.reading import read_outcome_file, texts_of


def texts(table):
    return pd.DataFrame({name: texts_of(table[name]) for name in table})


def given(table, **options):
    return given_outcomes(texts(table), "the table", **options)


def written(folder, content, name="table.csv"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_counts_of_every_group_are_those_of_a_plain_count():
    table = answers(lost=40)
    found = tally(given(table).outcomes).set_index(["level", "group"])
    right = table["float_answer"] == table["label"]
    now = table["quantized_answer"] == table["label"]
    changed = table["float_answer"] != table["quantized_answer"]
    masks = {("average", "all"): np.full(len(table), True)}
    masks |= {("class", c): table["label"] == c for c in table["label"].unique()}
    masks |= {("segment", f"tone={t}"): table["tone"] == t for t in ("dark", "light")}
    masks[("intersection", "class 0 & tone=dark")] = (table["label"] == "class 0") & (
        table["tone"] == "dark"
    )
    for key, mask in masks.items():
        row = found.loc[key]
        assert row["n"] == mask.sum()
        assert row["lost"] == (right & ~now & mask).sum()
        assert row["gained"] == (~right & now & mask).sum()
        assert row["flips"] == (changed & mask).sum()
        assert row["float_accuracy"] == pytest.approx(right[mask].mean())
    assert set(found.index) >= set(masks) and len(found) == 1 + 5 + 2 + 10


def test_right_and_wrong_say_what_the_same_answers_say():
    by_answers = tally(given(answers(lost=40)).outcomes)
    told = given(right_or_wrong(lost=40))
    by_truth = tally(told.outcomes)
    common = by_truth.merge(by_answers, on=["level", "group", "shift"], suffixes=("", "_answers"))
    assert len(common) == 3
    for column in ("n", "lost", "gained", "float_accuracy", "drop"):
        assert (common[column] == common[f"{column}_answers"]).all()
    assert told.source.kind == "right_or_wrong"
    assert told.groups.classes == 0


def test_labels_make_classes_also_beside_right_and_wrong():
    table = right_or_wrong(lost=40).assign(label=answers(lost=40)["label"])
    found, known = tally(given(table).outcomes), tally(given(answers(lost=40)).outcomes)
    columns = ["level", "group", "n", "lost", "gained", "drop"]
    pd.testing.assert_frame_equal(found[columns], known[columns])


def test_scores_count_by_how_much_they_lose():
    table = scores()
    found = tally(given(table).outcomes).set_index("group")
    drop = table["float_ok"] - table["quantized_ok"]
    dark = table["tone"] == "dark"
    for group, mask in (("all", drop.notna()), ("tone=dark", dark)):
        row = found.loc[group]
        assert row["drop"] == pytest.approx(drop[mask].mean())
        assert row["float_accuracy"] == pytest.approx(table["float_ok"][mask].mean())
        assert row["quantized_accuracy"] == pytest.approx(table["quantized_ok"][mask].mean())
        assert row["lost"] == (drop[mask] > 0).sum()
        assert row["gained"] == (drop[mask] < 0).sum()
    assert given(table).source.kind == "scores"


def test_the_order_of_rows_and_columns_changes_nothing():
    table = pd.concat(
        [answers(400).assign(draw=d, shift=s) for d in (10, 9) for s in ("x", "clean")]
    )
    mixed = table.sample(frac=1, random_state=1)[list(table)[::-1]]
    first, second = given(table), given(mixed)
    assert first.source.sha256 == second.source.sha256
    pd.testing.assert_frame_equal(tally(first.outcomes), tally(second.outcomes))
    assert list(first.draws.values()) == ["9", "10"], "draws are numbers, in their order"
    assert first.outcomes.shifts == ("clean", "x")


def test_numbers_are_one_class_however_they_are_written():
    table = answers(200, classes=3).replace({f"class {c}": str(c) for c in range(3)}, regex=True)
    other = table.assign(float_answer=table["float_answer"] + ".0")
    assert tally(given(other).outcomes).equals(tally(given(table).outcomes))
    frame = table.assign(
        label=table["label"].astype(int), float_answer=table["label"].astype(float)
    )
    assert (tally(given(frame).outcomes)["float_accuracy"] == 1).all()


def test_units_of_one_sample_or_cluster_belong_together():
    table = answers(60)
    table["sample_id"] = np.arange(60) // 3
    assert len(np.unique(given(table).groups.clusters)) == 20
    table["cluster"] = np.where(np.arange(60) < 30, "left", None)
    clusters = given(table).groups.clusters
    assert len(np.unique(clusters[:30])) == 1
    assert len(np.unique(clusters[30:])) == 10
    table["cluster"] = np.arange(60) // 4
    with pytest.raises(InputError, match="units of sample '1' are in several clusters"):
        given(table)


def test_semicolons_tabs_a_byte_order_mark_and_line_ends_of_windows_are_read(tmp_path):
    table = texts(answers(50))
    plain = written(tmp_path, table.to_csv(index=False))
    expected, _ = read_outcome_file(plain)
    for name, content in {
        "semicolons": table.to_csv(index=False, sep=";"),
        "tabs": table.to_csv(index=False, sep="\t"),
        "mark": "\ufeff" + table.to_csv(index=False),
        "windows": table.to_csv(index=False, lineterminator="\r\n"),
        "blanks": table.to_csv(index=False).replace(",", " , "),
    }.items():
        found, _ = read_outcome_file(written(tmp_path, content, f"{name}.csv"))
        pd.testing.assert_frame_equal(found, expected, check_dtype=False)


def test_parquet_and_csv_say_the_same(tmp_path):
    table = answers(50).assign(draw=3, tone=lambda t: t["tone"].astype("category"))
    table.to_parquet(tmp_path / "t.parquet")
    found, file = read_outcome_file(tmp_path / "t.parquet")
    expected, _ = read_outcome_file(written(tmp_path, table.to_csv(index=False)))
    pd.testing.assert_frame_equal(found, expected, check_dtype=False)
    assert file.name == "t.parquet" and len(file.sha256) == 64


FINE = "label,float_answer,quantized_answer\na,a,a\nb,b,b\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read as a table"),
        ("label,float_answer\n", "has no rows"),
        (FINE.replace("b,b,b", "b,b"), "row 2 has 2 cells and the header 3"),
        (FINE.replace("b,b,b", "b,b,b,b"), "row 2 has 4 cells and the header 3"),
        (FINE.replace("a,a,a\nb,b,b", "a,a,a,a\nb,b,b,b"), "row 1 has 4 cells and the header 3"),
        (FINE.replace("a,a,a", '"a,a,a'), "the quotes do not match"),
        (FINE.replace("float_answer", "label"), "two columns 'label'"),
        (FINE.replace("float_answer", ""), "a column without a name"),
        ("label,f\n\u5317,b\n".encode("cp932"), "csv' cannot be read as a table: it is not in U"),
    ],
)
def test_a_file_that_is_no_table_is_refused(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        read_outcome_file(written(tmp_path, text))
    with pytest.raises(InputError, match="does not exist"):
        read_outcome_file(tmp_path / "nothing.csv")
    pd.DataFrame({"label": [[1], [2]]}).to_parquet(tmp_path / "t.parquet")
    with pytest.raises(InputError, match="column 'label' holds a ndarray; give texts or numbers"):
        read_outcome_file(tmp_path / "t.parquet")


BASE = "unit_id,label,float_answer,quantized_answer,tone\n1,a,a,a,x\n2,b,b,b,y\n3,a,a,b,x\n"
OK = "unit_id,float_ok,quantized_ok\n1,1,1\n2,0,1\n3,0.5,0.25\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BASE.replace("label", "truth"), "has no column 'label'; outcomes are"),
        (BASE.replace("label", "Label"), "'Label', which would be no 'label' but groups"),
        (BASE.replace("unit_id", "id").replace("tone", "unit_id"), "both 'id' and 'unit_id'"),
        (BASE.replace("tone", "float_ok"), "'float_answer' and 'float_ok', and right and wrong"),
        (BASE.replace("3,a,a,b", "2,b,a,b"), "answered twice; the first is unit '2' in rows 2 and"),
        (BASE.replace("3,a,a,b", "3,a,,b"), "'float_answer' is empty in row 3; every unit"),
        (BASE.replace("1,a", ",a"), "'unit_id' is empty in row 1"),
        (BASE.replace(",x", ",").replace(",y", ","), "group column 'tone' is empty; remove it"),
        (BASE.replace("2,b,b,b", "2,a,b,b"), "'label' is 'a' in every row, and with one class"),
        ("label,float_answer,quantized_answer\n7,cat,dog\n8,dog,cat\n",
         "'label' holds numbers, such as '7', and 'float_answer' names, such as 'cat'"),
        (BASE.replace("tone", "split"), "split 'x' is none of selection, audit"),
        (BASE.replace("a,x", "a,x\x1b[31m"), r"'x\\x1b\[31m' in column .tone. holds the contr"),
        (BASE.replace("a,", "a\x00,"), r"'a\\x00' in column 'label' holds the control character U"),
        (BASE.replace("tone", "to\x07ne"), r"name of column 'to\\x07ne' holds the control charac"),
        (BASE.replace("tone", "draw"), "answers are missing; the first is that of unit '2' under"),
        (OK.replace("0.5", "nan"), "'nan' in 'float_ok' is no number"),
        (OK.replace("0.5", ""), "'float_ok' is empty in row 3"),
        (OK.replace("0.5", "1.5"), "'1.5' in 'float_ok' is outside"),
        (OK.replace("0.5", "-0.1"), "'-0.1' in 'float_ok' is outside"),
        (OK.replace(",", ";").replace("0.5", "0,5"), "'0,5' in 'float_ok' is no number.*a point"),
        (OK.replace("unit_id", "draw"), "a column 'draw' and no 'unit_id'"),
    ],
)  # fmt: skip
def test_rows_that_cannot_be_judged_are_refused_in_one_sentence(text, message):
    table = pd.read_csv(
        io.StringIO(text), sep=None, engine="python", dtype=str, keep_default_na=False
    )
    with pytest.raises(InputError, match=message) as refused:
        given_outcomes(table.where(table != ""), "the table")
    assert "\n" not in str(refused.value)


def test_rows_that_contradict_each_other_are_refused():
    twice = pd.concat([answers(40).assign(draw=0), answers(40).assign(draw=1)], ignore_index=True)
    wrong = twice.copy()
    wrong.loc[70, "label"] = "class 9"
    with pytest.raises(InputError, match=r"unit 'u00030' has 'label' '.*' in row 31 and 'class 9'"):
        given(wrong)
    wrong = twice.copy()
    wrong.loc[70, "float_answer"] = "class 9"
    with pytest.raises(InputError, match="float model's outcome differs between draws for 1 units"):
        given(wrong)


def test_more_groups_than_anybody_looks_at_are_refused():
    with pytest.raises(InputError, match=r"column 'serial' has 3,000 values.*call it 'cluster'"):
        given(answers().assign(serial=np.arange(3000)))
    many = answers(classes=40).assign(shop=np.arange(3000) % 150)
    with pytest.raises(InputError, match=r"make 6,\d+ groups.*--no-cross.*'shop' has most values"):
        given(many)
    assert given(many, crossing=Crossing(crossed=False)).groups.classes == 40
    with pytest.raises(InputError, match="'label' has 3,000 values, too many to be classes"):
        serial = [f"s{number}" for number in range(3000)]
        given(answers().assign(label=serial, float_answer=serial))


def halves(table):
    first = table[["unit_id", "label", "float_answer", "tone"]]
    second = table[["unit_id", "quantized_answer"]]
    return first.set_axis(["id", "label", "answer", "tone"], axis=1), second.set_axis(
        ["id", "answer"], axis=1
    )


def joined(folder, first, second):
    paths = [folder / "float.csv", folder / "quantized.csv"]
    for path, table in zip(paths, (first, second), strict=True):
        table.to_csv(path, index=False)
    return read_outcomes(None, *paths)


def test_two_files_are_joined_by_id(tmp_path):
    table = answers(lost=30)
    first, second = halves(table)
    found, what, files = joined(tmp_path, first, second.sample(frac=1, random_state=0))
    result = given_outcomes(found, what, files)
    assert tally(result.outcomes).equals(tally(given(table).outcomes))
    assert [file.name for file in result.source.files] == ["float.csv", "quantized.csv"]


def test_files_that_do_not_match_are_refused(tmp_path):
    first, second = halves(answers(40))
    more = pd.concat([second, second.iloc[:3].assign(id=["x0", "x1", "x2"])])
    with pytest.raises(InputError, match=r"3 of the 43 ids of '.*quantized.csv' are not in .*x0"):
        joined(tmp_path, first, more)
    with pytest.raises(InputError, match=r"1 of the 40 ids of '.*float.csv' are not in .*'u00039'"):
        joined(tmp_path, first, second.iloc[:-1])
    with pytest.raises(InputError, match="answers 1 units twice; the first is unit_id 'u00000'"):
        joined(tmp_path, first, pd.concat([second, second.iloc[:1]]))
    other = second.assign(label=first["label"].where(first.index != 5, "class 9"))
    with pytest.raises(InputError, match="unit 'u00005' has label '.*' in .* and 'class 9' in"):
        joined(tmp_path, first, other)
    with pytest.raises(InputError, match="has no column 'id'"):
        joined(tmp_path, first, second.rename(columns={"id": "number"}))
    with pytest.raises(InputError, match="must have one column with outcomes"):
        joined(tmp_path, first, second.rename(columns={"answer": "said"}))
    with pytest.raises(InputError, match="one TABLE, or both --float and --quantized"):
        read_outcomes(None, tmp_path / "float.csv", None)
