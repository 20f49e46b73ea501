import pytest
from kedro.io import DatasetError
from tests.registry.conftest import candidate, release, terms

from ptq_pipeline.datasets import ChampionDataset, RegistryDataset
from ptq_pipeline.registry.store import baseline_bytes


@pytest.fixture
def place(tmp_path):
    """Where a registry without versions stands."""
    (tmp_path / "champion_baseline.json").write_bytes(baseline_bytes())
    return {
        "filepath": str(tmp_path / "registry"),
        "baseline": str(tmp_path / "champion_baseline.json"),
    }


def test_a_missing_folder_is_a_registry_without_versions(place):
    assert RegistryDataset(**place).load().champion() is None
    assert not ChampionDataset(**place).exists()
    with pytest.raises(DatasetError, match="has no champion yet; `kedro ptq promote`"):
        ChampionDataset(**place).load()


def test_the_champion_is_its_files(place):
    decision, files = candidate("a")
    release(RegistryDataset(**place).load(), decision, files, terms())
    paths = ChampionDataset(**place).load()
    assert {"decision.json", "record.json", *files} == set(paths)
    assert paths["model.bin"].read_bytes() == files["model.bin"]
    assert ChampionDataset(**place).exists()


@pytest.mark.parametrize("dataset", [RegistryDataset, ChampionDataset])
def test_nobody_saves_them(place, dataset):
    with pytest.raises(DatasetError):
        dataset(**place).save({})
