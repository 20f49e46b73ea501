import pytest
from kedro.io import DataCatalog, DatasetError
from tests.registry.conftest import candidate, release, terms

from ptq_pipeline.core.file_cache import FOLDER_VARIABLE
from ptq_pipeline.core.objects import MARKER
from ptq_pipeline.datasets import ChampionDataset, RegistryDataset
from ptq_pipeline.registry.store import baseline_bytes
from ptq_pipeline.unchanged import place_of


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


def test_the_trial_store_may_be_elsewhere(tmp_path, monkeypatch):
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    entry = {"type": "ptq_pipeline.datasets.TrialStoreDataset", "filepath": "memory://b/trials"}
    catalog = DataCatalog.from_config({"trial_store": entry})
    store = catalog.load("trial_store")
    assert store.objects.url == "memory://b/trials"
    # What was computed on the way stays on this host, and is not taken for the store.
    assert store.statistics.is_relative_to(tmp_path / "stores")
    assert place_of(catalog, "trial_store") is None
    assert [each.name for each in store.names()] == [MARKER]
