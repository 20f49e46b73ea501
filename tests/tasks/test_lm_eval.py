import json

import pytest

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.tasks.given import given_outcomes
from ptq_pipeline.tasks.joining import read_outcomes
from ptq_pipeline.tasks.lm_eval import SampleFields, read_samples

TIME = "2026-11-30T10-20-30.123456"


def sample(number, right, **changed):
    """A sample in the form of lm-evaluation-harness 0.4."""
    return {
        "doc_id": number,
        "doc": {"question": f"q{number}", "subject": f"s{number % 2}", "passage": number // 4},
        "target": "a",
        "arguments": {"gen_args_0": {"arg_0": f"q{number}", "arg_1": " a"}},
        "resps": [[["-1.5", "True"]]],
        "filtered_resps": [["-1.5", "True"]],
        "filter": "none",
        "metrics": ["acc", "acc_norm"],
        "doc_hash": f"{number:064x}"[::-1],
        "prompt_hash": "00",
        "target_hash": "00",
        "acc": float(right),
        "acc_norm": 1.0,
    } | changed


def write_samples(folder, lost, tasks=("arc_easy", "boolq"), count=1500):
    folder.mkdir(exist_ok=True)
    for task in tasks:
        lines = [json.dumps(sample(n, n >= lost and n % 10 > 0)) for n in range(count)]
        (folder / f"samples_{task}_{TIME}.jsonl").write_text("\n".join(lines) + "\n")


def test_samples_of_a_folder_are_paired_by_task_and_document(tmp_path):
    write_samples(tmp_path / "float", 0)
    write_samples(tmp_path / "int8", 40)
    fields = SampleFields(groups=("subject",), cluster="passage")
    table, what, files = read_outcomes(None, tmp_path / "float", tmp_path / "int8", fields)
    given = given_outcomes(table, what, files)
    assert given.source.kind == "right_or_wrong" and given.source.units == 3000
    assert [file.name[:12] for file in files] == ["samples_arc_", "samples_bool"] * 2
    segments = {name: list(each.names) for name, each in given.definitions.segments.items()}
    assert segments == {"task": ["arc_easy", "boolq"], "subject": ["s0", "s1"]}
    lost = (table["float_ok"] == "1") & (table["quantized_ok"] == "0")
    assert lost.sum() == 2 * 36
    assert given.groups.clusters.max() > 100


def test_a_text_may_hold_line_ends_of_other_systems(tmp_path):
    rows = [sample(n, True, doc={"passage": "one\u2028two\x85three"}) for n in range(3)]
    path = tmp_path / "samples_boolq.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    assert len(read_samples(path, SampleFields())[0]) == 3


def test_a_metric_and_a_filter_are_chosen_by_name(tmp_path):
    path = tmp_path / "samples_gsm8k.jsonl"
    rows = [
        sample(n, True, filter=each, metrics=["exact_match"], exact_match=float(each == "strict"))
        for n in range(10)
        for each in ("strict", "flexible")
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(
        InputError, match="metrics exact_match with the filters flexible, strict; nam"
    ):
        read_samples(path, SampleFields())
    for each, value in (("strict", "1"), ("flexible", "0")):
        table, _ = read_samples(path, SampleFields(metric=f"exact_match,{each}"))
        assert table["ok"].tolist() == [value] * 10
        assert "task" not in table
    plain = tmp_path / "samples_old.jsonl"
    old = {k: v for k, v in sample(1, True).items() if k not in ("metrics", "filter", "doc_hash")}
    plain.write_text(json.dumps(old))
    assert read_samples(plain, SampleFields())[0]["ok"].tolist() == ["1"]


@pytest.mark.parametrize(
    ("line", "fields", "message"),
    [
        ("no json", {}, "is no JSON a line"),
        ("", {}, "holds no sample"),
        ("[1]", {}, "line 1: no sample of lm-evaluation-harness"),
        (json.dumps(sample(1, True)), {"metric": "f1"}, "has the metrics acc, acc_norm with"),
        (json.dumps(sample(1, True)), {"groups": ("genre",)}, "no field 'genre'; it has question"),
        (json.dumps(sample(1, True, acc=[1])), {}, "document 1 has no number for 'acc'"),
    ],
)
def test_what_is_no_sample_is_refused(tmp_path, line, fields, message):
    path = tmp_path / "samples_x.jsonl"
    path.write_text(line)
    with pytest.raises(InputError, match=message):
        read_samples(path, SampleFields(**fields))
    with pytest.raises(InputError, match="holds no samples_"):
        (tmp_path / "empty").mkdir()
        read_samples(tmp_path / "empty", SampleFields())


def test_other_documents_under_the_same_number_do_not_match(tmp_path):
    for name, hashes in (("a", "1"), ("b", "2")):
        path = tmp_path / f"samples_{name}.jsonl"
        path.write_text(json.dumps(sample(1, True, doc_hash=hashes * 64)))
    # The task is in the name of the file, so the same one is read under two folders.
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / f"samples_{name}.jsonl").rename(tmp_path / name / "samples_t.jsonl")
    with pytest.raises(InputError, match=r"1 of the 1 ids of .* are not in"):
        read_outcomes(None, tmp_path / "a", tmp_path / "b")
