import re

import pandas as pd
import pytest
import yaml
from kedro.config import OmegaConfigLoader
from kedro.io import DataCatalog, DatasetError
from kedro.validation.exceptions import DataValidationError

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.datasets import GreatExpectationsValidator

EXPECTED = [
    {"type": "expect_column_values_to_not_be_null", "column": "label"},
    {"type": "expect_table_row_count_to_be_between", "min_value": 2},
]


def catalog(path, severity="error", expectations=EXPECTED):
    return DataCatalog.from_config(
        {
            "images": {
                "type": "pandas.ParquetDataset",
                "filepath": str(path),
                "validator": {
                    "class": "ptq_pipeline.datasets.GreatExpectationsValidator",
                    "on": ["load", "save"],
                    "severity": severity,
                    "options": {"expectations": expectations},
                },
            }
        }
    )


def test_a_good_table_passes_unchanged(tmp_path):
    table = pd.DataFrame({"label": [1.0, 2.0]})
    used = catalog(tmp_path / "t.parquet")
    used.save("images", table)
    pd.testing.assert_frame_equal(used.load("images"), table)


def test_a_bad_table_is_not_saved_and_the_message_says_why(tmp_path):
    path = tmp_path / "t.parquet"
    with pytest.raises(DataValidationError) as caught:
        catalog(path).save("images", pd.DataFrame({"label": [None]}))
    text = str(caught.value)
    assert "expect_column_values_to_not_be_null of 'label' does not hold: 1 of 1 values" in text
    assert "expect_table_row_count_to_be_between does not hold: 1" in text
    assert not path.exists()


def test_a_warning_lets_the_table_through(tmp_path, caplog):
    used = catalog(tmp_path / "t.parquet", severity="warn")
    used.save("images", pd.DataFrame({"label": [None, 1.0]}))
    assert "does not hold" in caplog.text
    assert len(used.load("images")) == 2


def test_a_message_is_bounded():
    many = [{"type": "expect_column_to_exist", "column": f"c{i}" * 50} for i in range(9)]
    with pytest.raises(InputError, match="and 4 more") as caught:
        GreatExpectationsValidator(many).validate(pd.DataFrame({"a": [1]}))
    assert len(str(caught.value)) < 5 * 310


def test_an_expectation_that_cannot_be_checked_says_so():
    validator = GreatExpectationsValidator(EXPECTED[:1])
    with pytest.raises(InputError, match="could not be checked.*label"):
        validator.validate(pd.DataFrame({"other": [1]}))


@pytest.mark.parametrize(
    ("expectations", "message"),
    [
        ([], "'expectations' is empty"),
        ([{"column": "a"}], "has no 'type'"),
        ([{"type": "expect_magic"}], "has no expectation 'expect_magic'"),
        ([{"type": "expect_column_values_to_not_be_null"}], "is not complete"),
    ],
)
def test_wrong_options_are_refused(expectations, message):
    with pytest.raises(InputError, match=message):
        GreatExpectationsValidator(expectations)


def test_only_tables_are_validated():
    with pytest.raises(InputError, match="expected a pandas DataFrame, got list"):
        GreatExpectationsValidator(EXPECTED).validate([])


@pytest.fixture
def documented(project, tmp_path, monkeypatch):
    """The catalog of the page on mounting, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    page = (project / "docs/mounting.md").read_text()
    (block,) = [
        b for b in re.findall(r"^```yaml\n(.*?)^```", page, re.S | re.M) if "validator" in b
    ]
    return DataCatalog.from_config(yaml.safe_load(block))


def test_an_error_of_the_documented_catalog_stops_the_load(documented, tmp_path):
    folder = tmp_path / "data/01_raw/shop"
    folder.mkdir(parents=True)
    table = pd.DataFrame({"label": range(1000)})
    table.to_csv(folder / "images.csv", index=False)
    assert len(documented.load("shop_images")) == 1000
    table[:10].to_csv(folder / "images.csv", index=False)
    with pytest.raises(DataValidationError, match="row_count_to_be_between does not hold: 10"):
        documented.load("shop_images")


def test_a_warning_of_the_documented_catalog_names_two_and_saves(documented, tmp_path, caplog):
    table = pd.DataFrame({"country": ["DE", "FR"], "customer": [1, 1]})
    documented.save("shop_customers", table)
    assert "value" in caplog.text and "(such as 'FR')" in caplog.text
    assert "of 'customer' does not hold: 2 of 2 values" in caplog.text
    assert "and 1 more" in caplog.text
    assert len(documented.load("shop_customers")) == 2


def test_a_misspelt_expectation_is_refused_when_its_entry_is_used(tmp_path):
    path = tmp_path / "t.parquet"
    misspelt = catalog(path, expectations=[{"type": "expect_magic"}])
    with pytest.raises(DatasetError, match="has no expectation 'expect_magic'"):
        misspelt.save("images", pd.DataFrame({"label": [1]}))
    assert not path.exists()


@pytest.mark.parametrize("env", ["base", "quick", "full", "passing"])
def test_no_entry_of_this_project_can_lose_evidence(project, env):
    loader = OmegaConfigLoader(str(project / "conf"), env=env, base_env="base")
    for name, entry in loader["catalog"].items():
        assert entry.get("validator", {}).get("severity") != "error", name
