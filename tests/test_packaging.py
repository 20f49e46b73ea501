"""`kedro package`: this project as a wheel and an archive of its configuration, run elsewhere."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import PathDistribution
from itertools import chain

import pytest
from tests.project import SmallProject
from tests.tasks.tables import answers


@pytest.fixture(scope="module")
def metadata(wheel):
    (folder,) = wheel.glob("ptq_pipeline-*.dist-info")
    return PathDistribution(folder)


def test_the_metadata_says_what_an_index_shows(metadata):
    said = metadata.metadata
    assert said.get_all("Project-URL")
    classifiers = said.get_all("Classifier")
    assert {"Typing :: Typed", "Programming Language :: Python :: 3.13"} <= set(classifiers)
    description = said["Description"]
    assert "pip install ptq-pipeline" in description
    links = re.findall(r"\]\(([^)]*)\)|(?:src|href)=\"([^\"]*)\"", description)
    assert all(link.startswith("https://") for pair in links for link in pair if link)


def test_the_console_script_and_kedro_find_the_commands(metadata, wheel, tmp_path):
    found = {(each.group, each.name): each.value for each in metadata.entry_points}
    assert found["console_scripts", "ptq-pipeline"] == "ptq_pipeline.commands:ptq"
    assert found["kedro.global_commands", "ptq_pipeline"] == "ptq_pipeline.commands:commands"
    answers(lost=3).to_csv(tmp_path / "answers.csv", index=False)
    code = "import sys; from ptq_pipeline.commands import ptq; sys.exit(ptq())"

    def judge(program, *options):
        return subprocess.run(
            [sys.executable, *program, "judge", "answers.csv", *options],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(wheel)},
            capture_output=True,
            text=True,
            check=False,
        )

    ended = judge(["-c", code])
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "judged/report.html").is_file()
    # Kedro finds them where there is no project.
    ended = judge(["-m", "kedro", "ptq"], "--no-report")
    assert ended.returncode == 0, ended.stderr
    assert "Decision: may ship (PASS)." in ended.stdout


# What comes with a package that is declared, exactly pinned by it.
WITH_OTHERS = {"pydantic_core": "pydantic", "google": "protobuf", "distributed": "dask"}
NAMES = {
    **{"yaml": "PyYAML", "PIL": "pillow", "sklearn": "scikit-learn"},
    # The client; the package mlflow is the server too.
    "mlflow": "mlflow-skinny",
    **{"cyclonedx": "cyclonedx-python-lib", "packageurl": "packageurl-python"},
}


def test_what_is_imported_is_declared(project):
    declared = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    known = [*declared["dependencies"], *chain(*declared["optional-dependencies"].values())]
    names = {re.split(r"[\[<>=;]", each)[0].strip().lower().replace("_", "-") for each in known}
    imported = set()
    for path in (project / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                imported.add(node.module.partition(".")[0])
    others = imported - set(sys.stdlib_module_names) - {"ptq_pipeline"}
    wanted = {
        WITH_OTHERS.get(name, NAMES.get(name, name)).lower().replace("_", "-") for name in others
    }
    assert wanted <= names, wanted - names


def test_make_says_in_its_first_line_which_pythons_serve(project, tmp_path):
    shutil.copy2(project / "Makefile", tmp_path)
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).touch()
    old = tmp_path / "python3.10"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    ended = subprocess.run(
        ["make", "--no-print-directory", f"PYTHON={old}", "setup"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode != 0
    assert "is no Python 3.11, 3.12 or 3.13" in ended.stdout.splitlines()[0]
    assert not (tmp_path / ".venv").exists()


@pytest.mark.slow
def test_the_packaged_project_runs_where_its_data_is(project, wheel, tmp_path):
    source = tmp_path / "source"
    ignored = shutil.ignore_patterns("build", "*.egg-info")
    shutil.copytree(wheel.parent / "source", source, symlinks=True, ignore=ignored)
    elsewhere = SmallProject(project, tmp_path / "elsewhere").root
    # The configuration that is packaged is the one that fits the data there.
    shutil.rmtree(source / "conf")
    shutil.move(elsewhere / "conf", source / "conf")
    subprocess.run([sys.executable, "-m", "kedro", "package"], cwd=source, check=True)
    (packed,) = (source / "dist").glob("ptq_pipeline-*.whl")
    with zipfile.ZipFile(packed) as content:
        content.extractall(tmp_path / "site")
    (elsewhere / "pyproject.toml").unlink()
    archive = source / "dist/conf-ptq_pipeline.tar.gz"
    subprocess.run(
        [
            *(sys.executable, "-m", "ptq_pipeline", "--conf-source", archive),
            *("--pipelines", "data_loading"),
        ],
        cwd=elsewhere,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "site")},
        check=True,
    )
    assert (elsewhere / "data/03_primary/samples.parquet").is_file()
