import shutil

import pytest

from ptq_pipeline.registry import no_champion


@pytest.fixture
def small(tmp_path, project, monkeypatch):
    """A project with the shipped configuration; the current directory."""
    shutil.copytree(project / "conf", tmp_path / "conf")
    (tmp_path / "conf/local").mkdir(exist_ok=True)
    (tmp_path / "src").mkdir()
    (tmp_path / "pyproject.toml").write_text(
        '[tool.kedro]\npackage_name = "ptq_pipeline"\nproject_name = "small"\n'
        'kedro_init_version = "1.7.0"\nsource_dir = "src"\n'
    )
    (tmp_path / "data/06_models").mkdir(parents=True)
    (tmp_path / "data/06_models/champion_baseline.json").write_bytes(no_champion())
    monkeypatch.chdir(tmp_path)
    return tmp_path
