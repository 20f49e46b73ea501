import errno
import os

import pandas as pd
import pytest
from kedro.io import DataCatalog, DatasetError
from matplotlib.figure import Figure

CASES = {
    "CSVDataset": (pd.DataFrame({"a": [1]}), pd.DataFrame({"a": [2]})),
    "JSONDataset": ({"a": 1}, {"a": 2}),
    "ParquetDataset": (pd.DataFrame({"a": [1]}), pd.DataFrame({"a": [2]})),
    "TextDataset": ("first", "second"),
    "figures.MatplotlibDataset": (Figure((1, 1)), Figure((2, 2))),
}


def dataset(name, path):
    entry = {"type": f"ptq_pipeline.datasets.{name}", "filepath": path.as_posix()}
    return DataCatalog.from_config({"it": entry}).get("it")


@pytest.mark.parametrize("name", CASES)
def test_a_disk_that_is_full_leaves_the_file_that_was_there(tmp_path, monkeypatch, name):
    first, second = CASES[name]
    path = tmp_path / "below" / "file"
    there = dataset(name, path)
    there.save(first)
    before = path.read_bytes()

    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(DatasetError, match="No space left"):
            there.save(second)
    assert path.read_bytes() == before
    there.save(second)
    assert path.read_bytes() != before
    assert [each.name for each in path.parent.iterdir()] == ["file"]


def test_what_cannot_be_written_leaves_the_file_that_was_there(tmp_path):
    there = dataset("JSONDataset", tmp_path / "file.json")
    there.save({"a": 1})
    with pytest.raises(DatasetError, match="not JSON serializable"):
        there.save({"a": 1, "b": object()})
    assert there.load() == {"a": 1}


def test_every_file_of_the_catalog_is_written_as_a_whole(project):
    """Kedro's own datasets write in place, so a killed run would leave half a file."""
    for path in sorted(project.glob("conf/*/catalog*.yml")):
        types = [line.split()[-1] for line in path.read_text().splitlines() if "type:" in line]
        foreign = {each for each in types if not each.startswith("ptq_pipeline.datasets.")}
        assert foreign <= {"MemoryDataset"}, path


def test_kedro_viz_is_told_of_no_preview_until_there_is_a_file(tmp_path):
    given = {"kedro-viz": {"layer": "reporting"}}
    entry = {"type": "ptq_pipeline.datasets.JSONDataset", "filepath": str(tmp_path / "it.json")}

    def said():
        return DataCatalog.from_config({"it": entry | {"metadata": given}}).get("it").metadata

    assert said() == {"kedro-viz": {"layer": "reporting", "preview": False}}
    (tmp_path / "it.json").write_text("{}")
    assert said() == given
