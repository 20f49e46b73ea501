"""What the pins are for."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import version


def test_evidently_can_be_imported_with_the_allowed_pandas(project):
    # evidently 0.7.23 fails to import with pandas 3.1; when this bound is raised, this must hold.
    requirements = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    assert "pandas>=2.3,<3.1" in requirements["dependencies"]
    assert tuple(map(int, version("pandas").split(".")[:2])) < (3, 1)
    subprocess.run([sys.executable, "-c", "from evidently import Report"], check=True)


def test_constraints_pin_versions_and_name_no_address(project):
    lines = (project / "constraints.txt").read_text().splitlines()
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!_-]+", line) for line in lines)


def test_listing_the_pipelines_imports_no_heavy_library(project):
    code = (
        "import sys\n"
        "from kedro.framework.project import configure_project\n"
        "configure_project('ptq_pipeline')\n"
        "from ptq_pipeline.pipeline_registry import register_pipelines\n"
        "register_pipelines()\n"
        "heavy = {'torch', 'openvino', 'great_expectations', 'evidently', 'matplotlib', 'dvc'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=project)


def test_commands_that_run_no_model_import_no_heavy_library(project):
    code = (
        "import sys\n"
        "import ptq_pipeline.settings, ptq_pipeline.sealing\n"
        "from ptq_pipeline.commands import calibration, plan, registry, report, status, verify\n"
        "heavy = {'torch', 'openvino', 'great_expectations', 'evidently', 'matplotlib', 'dvc'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=project)
