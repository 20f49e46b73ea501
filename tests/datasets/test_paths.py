"""No dataset takes a URL for a folder of this machine."""

import inspect

import pytest
from kedro.io import DataCatalog, DatasetError

from ptq_pipeline import datasets

URL = "s3://bucket/audit"
# Kedro's own datasets, which read URLs; and what takes no path.
KEDROS = {"CSVDataset", "JSONDataset", "DocumentDataset", "ParquetDataset", "TextDataset"}
OTHERS = KEDROS | {"GreatExpectationsValidator"}
# What may be in object storage.
STORED = {("TrialStoreDataset", "filepath"), ("FloatModelDataset", "weights")}
PATHS = {"filepath", "baseline", "checkpoint", "docs_path", "annotations", "weights"}
NEEDED = {
    "shape": [1, 4, 4],
    "baseline": "b.json",
    "checkpoint": "c.json",
    "filepath": "data",
    "factory": "f",
    "weights": "w",
    "preprocessing": {},
    "classes": ["a"],
}


def cases():
    for name in sorted(set(datasets.__all__) - OTHERS):
        parameters = inspect.signature(getattr(datasets, name)).parameters
        given = {key: NEEDED[key] for key in parameters if key in NEEDED}
        for path in sorted(PATHS & set(parameters)):
            if (name, path) not in STORED:
                yield name, given | {path: URL}
    for path in ("images", "labels"):
        yield "IdxImageDataset", {"parts": [{"images": "a", path: URL}]}
    yield "FloatModelDataset", {k: NEEDED[k] for k in ("factory", "weights", "preprocessing")} | {
        "classes": ["a"], "training_hashes": URL
    }  # fmt: skip


@pytest.mark.parametrize(("name", "entry"), cases(), ids=str)
def test_a_url_is_refused_in_one_sentence(tmp_path, monkeypatch, name, entry):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DatasetError, match=f"{URL}' is a URL, and only files of this machine"):
        DataCatalog.from_config({"it": {"type": f"ptq_pipeline.datasets.{name}"} | entry}).get("it")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", sorted(KEDROS))
def test_a_secret_in_a_url_is_refused_by_kedros_datasets_too(name):
    entry = {"type": f"ptq_pipeline.datasets.{name}", "filepath": "s3://AKIA:wJal@bucket/it"}
    if name == "DocumentDataset":
        entry["document"] = "ptq_pipeline.judgement.verdict.Verdict"
    with pytest.raises(DatasetError, match="holds a name, a password") as error:
        DataCatalog.from_config({"it": entry}).get("it")
    assert "wJal" not in str(error.value)


def test_class_names_are_texts():
    entry = {"factory": "f", "weights": "w", "preprocessing": {}}
    assert datasets.FloatModelDataset(classes=["a", 1], **entry)._classes == ["a", "1"]
    for name in (True, None, 1.5):
        with pytest.raises(ValueError, match="is no text; put it in quotation marks"):
            datasets.FloatModelDataset(classes=["a", name], **entry)


def test_hashes_of_settings_that_are_no_files_are_refused():
    with pytest.raises(ValueError, match="'sha256' names 'weight'; it can name weights and"):
        datasets.FloatModelDataset(
            factory="f",
            weights="w",
            preprocessing={},
            classes=["a"],
            sha256={"weight": "0" * 64},
        )
