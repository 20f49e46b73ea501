import json
import re
import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from tests.tasks.tables import answers, scores
from tests.tasks.test_lm_eval import write_samples

from ptq_pipeline.commands import ptq
from ptq_pipeline.core.inputs import read_regular
from ptq_pipeline.judgement.verdict import Verdict


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(ptq, ["judge", *arguments])


@pytest.mark.parametrize(("lost", "code"), [(3, 0), (150, 3), (30, 4)])
def test_exit_codes_and_the_files_say_what_came_of_it(here, lost, code):
    answers(lost=lost).to_csv("answers.csv", index=False)
    ended = run("answers.csv")
    assert ended.exit_code == code, ended.output
    verdict = Verdict.read(json.loads(read_regular(here / "judged/verdict.json")))
    assert {0: "PASS", 3: "FAIL", 4: "INCONCLUSIVE"}[code] == verdict.result
    assert verdict.source.files[0].name == "answers.csv"
    assert ended.stdout.startswith("Decision: ") and f"({verdict.result})" in ended.stdout
    assert f"{lost} got worse and 0 better; 0 went from one wrong answer" in ended.stdout
    assert ("can show a drop below" in ended.stderr) == (code == 4)
    ElementTree.parse(here / "judged/junit.xml")
    page = ElementTree.parse(here / "judged/report.html")
    words = "".join(page.getroot().itertext())
    assert "answers.csv, 3,000 units" in words
    assert "ONE MODEL" in words and "FULL AUDIT" not in words
    assert (here / "judged/summary.md").read_text().startswith("## Audit of the quantized model")


def test_a_report_on_a_table_speaks_of_units_and_shows_what_it_knows(here):
    parts = [answers(lost=2).assign(draw=d, shift=s) for d in range(4) for s in ("clean", "fog")]
    pd.concat(parts).to_parquet("draws.parquet")
    assert run("draws.parquet", "--language", "ja", "--out", "ja").exit_code == 4
    assert run("draws.parquet", "--out", "en").exit_code == 4
    english = (here / "en/report.html").read_text()
    assert 'id="distribution"' in english and 'id="artifact"' not in english
    assert "on clean units" in english and "all units" in english
    japanese = (here / "ja/report.html").read_text()
    assert 'lang="ja"' in japanese
    # Figures too.
    words = re.sub("<(script|style).*?</\\1>|<[^>]+>", " ", english + japanese, flags=re.S)
    assert not re.search("[Ii]mages?|画像", words)
    scores().to_csv("scores.csv", index=False)
    # The report of another table does not stay beside this verdict.
    assert run("scores.csv", "--no-report", "--out", "en").exit_code == 0
    assert not (here / "en/report.html").exists()


def test_json_is_the_verdict(here):
    answers(lost=3).to_csv("answers.csv", index=False)
    content = json.loads(run("answers.csv", "--json", "--no-report").stdout)
    assert content == json.loads((here / "judged/verdict.json").read_text())


def test_limits_and_policy_are_options(here):
    answers(lost=30).to_csv("answers.csv", index=False)
    assert run("answers.csv", "--no-report", "--limit", "average=3").exit_code == 0
    (here / "p.yml").write_text("worst_case_check:\n  limits: {average: {points: 3.0}}\n")
    assert run("answers.csv", "--no-report", "--policy", "p.yml").exit_code == 0
    (here / "p.yml").write_text("limits: {average: {points: 3.0}}\nfloat_floor: {average: 99}\n")
    refused = run("answers.csv", "--no-report", "--policy", "p.yml")
    assert refused.exit_code == 1 and "does not show more than the floor of 99" in refused.stderr
    assert (
        run("answers.csv", "--no-report", "--policy", "p.yml", "--float-floor", "50").exit_code == 0
    )


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        ((), "give one TABLE, or both --float and --quantized", 1),
        (("nothing.csv",), "'nothing.csv' does not exist", 1),
        (("answers.csv", "--limit", "class"), "'class' is not like class=3", 2),
        (("answers.csv", "--limit", "clas=3"), "'clas' is no level", 1),
        (("answers.csv", "--policy", "no.yml"), "'no.yml' does not exist", 1),
        (("answers.csv", "--policy", "list.yml"), "'list.yml' holds no settings", 1),
        (("answers.csv", "--policy", "bad.yml"), "'bad.yml' is no YAML", 1),
        (("answers.csv", "--language", "xx"), "xx", 1),
        (("answers.csv", "--limit", "class=nan"), "limits: class is nan; give points", 1),
        (("answers.csv", "--ignore", "shop"), "has no column 'shop' that --ignore could", 1),
        (("answers.csv", "--cluster", "tone"), "--cluster is for samples of lm-evaluation-harn", 1),
        (("answers.csv", "--out", "answers.csv/x"), "a file is in its place; choose another", 1),
    ],
)
def test_wrong_use_is_one_sentence_and_writes_nothing(here, arguments, message, code):
    answers().to_csv("answers.csv", index=False)
    (here / "list.yml").write_text("- 1\n")
    (here / "bad.yml").write_text("a: [\n")
    ended = run(*arguments)
    assert ended.exit_code == code
    assert message in ended.stderr
    assert code == 2 or ended.stderr.count("\n") == 1
    assert not (here / "judged").exists()


LIGHT = """
import resource, sys, time
from ptq_pipeline.commands import ptq
try:
    ptq(["judge", "answers.csv", "--no-report"])
except SystemExit as ended:
    assert ended.code == 0, ended.code
heavy = {"torch", "openvino", "dvc", "evidently", "great_expectations", "matplotlib", "jinja2",
         "kedro", "onnxruntime"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
used = resource.getrusage(resource.RUSAGE_SELF)
print("seconds", used.ru_utime + used.ru_stime)
"""


# What it needs of others. Seconds are a processor's: two of one that imports these in one.
LIBRARIES = """
import resource
import numpy, pandas, pyarrow.csv, pydantic, scipy.optimize, scipy.stats
used = resource.getrusage(resource.RUSAGE_SELF)
print("seconds", used.ru_utime + used.ru_stime)
"""


def test_a_verdict_imports_no_heavy_library_and_takes_less_than_twice_what_it_imports(here):
    answers(8000, lost=10, classes=10).to_csv("answers.csv", index=False)
    taken = {LIGHT: [], LIBRARIES: []}
    for program in [LIBRARIES, LIGHT] * 2:
        ended = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, ended.stderr
        taken[program].append(float(ended.stdout.rpartition("seconds ")[2]))
    assert min(taken[LIGHT]) < 2 * min(taken[LIBRARIES]), taken.values()


def test_the_commands_of_the_page_run(here, project):
    table = answers(lost=3)
    table.to_csv("answers.csv", index=False)
    first = table[["unit_id", "label", "float_answer"]].set_axis(["id", "label", "answer"], axis=1)
    first.to_csv("float.csv", index=False)
    table[["unit_id", "quantized_answer"]].set_axis(["id", "answer"], axis=1).to_csv(
        "int8.csv", index=False
    )
    (here / "policy.yml").write_text("alpha: 0.05\nlimits: {average: {points: 2}}\n")
    page = (project / "docs/judge_anything.md").read_text()
    commands = re.findall(r"^kedro ptq judge (.*)$", page, re.M)
    assert len(commands) == 4
    write_samples(here / "float", 0)
    write_samples(here / "int8", 3)
    for command in commands:
        ended = run(*command.split(), "--no-report")
        assert ended.exit_code == 0, ended.output


@pytest.mark.slow
def test_a_million_rows_of_fifty_groups_take_less_than_thirty_seconds_and_two_gigabytes(here):
    table = answers(1_000_000, lost=3000, classes=10)
    table["region"] = np.arange(1_000_000) % 38
    table.drop(columns="tone").to_csv("answers.csv", index=False)
    code = LIGHT.replace('"--no-report"', '"--no-report", "--no-cross"')
    code += "assert used.ru_maxrss < 2e6, used.ru_maxrss\n"
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert float(ended.stdout.rpartition("seconds ")[2]) < 30
