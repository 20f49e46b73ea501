import json

import pytest
from kedro.io import DataCatalog, DatasetError

from ptq_pipeline.core.errors import own_cause
from ptq_pipeline.core.group_ids import GroupDefinitions
from ptq_pipeline.core.handed_on import UNCHANGED

KIND = "ptq_pipeline.core.group_ids.GroupDefinitions"
DEFINITIONS = GroupDefinitions(classes=("boot", "靴"), segments={})


def dataset(path, document=KIND, **more):
    entry = {"type": "ptq_pipeline.datasets.DocumentDataset", "filepath": path.as_posix()}
    return DataCatalog.from_config({"it": entry | {"document": document} | more}).get("it")


def refusal(call, *arguments):
    with pytest.raises(DatasetError) as error:
        call(*arguments)
    return str(own_cause(error.value) or error.value)


def test_a_document_is_read_as_it_was_written(tmp_path):
    there = dataset(tmp_path / "it.json")
    there.save(DEFINITIONS)
    assert there.load() == DEFINITIONS
    text = (tmp_path / "it.json").read_text("utf-8")
    assert text == json.dumps(DEFINITIONS.to_json(), indent=2, sort_keys=True, ensure_ascii=False)
    there.save(UNCHANGED)
    assert there.load() == DEFINITIONS


def test_an_optional_document_may_be_missing(tmp_path):
    there = dataset(tmp_path / "it.json", optional=True)
    assert there.exists() and there.load() is None
    there.save(DEFINITIONS)
    assert there.load() == DEFINITIONS
    assert not dataset(tmp_path / "other.json").exists()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [("{", "it.json' is damaged"), ("[1]", "holds no JSON object"), ("{}", "classes: Field req")],
)
def test_a_damaged_file_is_one_sentence_with_a_way_out(tmp_path, content, sentence):
    (tmp_path / "it.json").write_text(content)
    found = refusal(dataset(tmp_path / "it.json").load)
    assert sentence in found and GroupDefinitions.way_out in found


@pytest.mark.parametrize("document", ["os.system", "nowhere.Verdict", "builtins.dict", "Verdict"])
def test_only_documents_are_named(tmp_path, document):
    found = refusal(dataset(tmp_path / "it.json", document).load)
    assert f"is '{document}', which is no document" in found


def test_another_document_is_not_written(tmp_path):
    there = dataset(tmp_path / "it.json")
    assert f"holds {KIND}, not dict" in refusal(there.save, {"classes": []})
    assert not (tmp_path / "it.json").exists()
