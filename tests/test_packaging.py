"""`kedro package`: this project as a wheel and an archive of its configuration, run elsewhere."""

import os
import shutil
import subprocess
import sys
import zipfile

import pytest
from tests.project import SmallProject


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
