import pandas as pd
import pytest
from kedro.io import DataCatalog
from kedro.validation.exceptions import DataValidationError

from ptq_pipeline.datasets import GreatExpectationsValidator
from ptq_pipeline.errors import InputError

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
