"""The notebook of the documentation, run cell by cell as Jupyter would."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).resolve().parents[1] / "docs/judge_anything.ipynb"
RUN = """
import json, sys
from IPython.core.interactiveshell import InteractiveShell

shell = InteractiveShell.instance()
for cell in json.load(open(sys.argv[1]))["cells"]:
    if cell["cell_type"] == "code":
        shell.run_cell("".join(cell["source"])).raise_error()
names = shell.user_ns
print("RESULTS", json.dumps({
    "table": names["table_verdict"].result,
    "reasons": [reason.group for reason in names["table_verdict"].reasons],
    "shown": "<table" in names["table_verdict"]._repr_html_(),
    "compared": names["compared"],
    "draws": names["torch_verdict"].recipe.draws,
    "answers": [int((each == 1 - names["kinds"][200:]).sum()) for each in names["answers"]],
}))
"""


def test_it_is_a_notebook_without_outputs():
    content = json.loads(NOTEBOOK.read_text())
    assert content["nbformat"] == 4
    assert not any(cell.get("outputs") for cell in content["cells"])


@pytest.mark.slow
def test_the_notebook_audits_a_table_two_files_and_a_network(tmp_path):
    pytest.importorskip("IPython")
    ended = subprocess.run(
        [sys.executable, "-c", RUN, str(NOTEBOOK)],
        cwd=tmp_path, env=os.environ | {"IPYTHONDIR": str(tmp_path / "ipython")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    found = json.loads(ended.stdout.rpartition("RESULTS ")[2])
    assert found["table"] == "FAIL" and "owl & light=night" in found["reasons"]
    assert found["shown"]
    assert found["compared"] in (0, 4), ended.stdout
    assert found["draws"] == 5
    assert found["answers"][0] > 570
