"""Great Expectations for any table in a Kedro catalog, through the catalog's ``validator:`` key."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pandas as pd

from ptq_pipeline.core.errors import InputError

if TYPE_CHECKING:
    from ptq_pipeline.calibration.gx import Suite

MOST_FAILURES = 5
MOST_CHARACTERS = 300


class GreatExpectationsValidator:
    """Validates a pandas table whenever the catalog loads or saves it.

    Severity is Kedro's: ``error`` stops the run (a table that fails on save is not saved), ``warn``
    logs the message and goes on. Do not use ``error`` on tables of evidence, such as scores or
    verdicts: the evidence would be lost. In a catalog::

        shop_images:
          type: pandas.CSVDataset
          filepath: data/01_raw/shop/images.csv
          validator:
            class: ptq_pipeline.datasets.GreatExpectationsValidator
            "on": load
            severity: error
            options:
              expectations:
                - {type: expect_column_values_to_not_be_null, column: label}
                - {type: expect_table_row_count_to_be_between, min_value: 1000}

    Args:
        expectations: each one a ``type`` in Great Expectations' spelling and its arguments.
        most_failures: failed expectations that a message names; it says how many more there are.

    Raises:
        InputError: an expectation has no type, or Great Expectations does not know it.
    """

    def __init__(
        self, expectations: Sequence[Mapping[str, Any]], most_failures: int = MOST_FAILURES
    ) -> None:
        if not expectations:
            raise InputError("validator: 'expectations' is empty, so nothing would be checked")
        self._expectations = [_expectation(each) for each in expectations]
        self._most_failures = most_failures

    def validate(self, data: pd.DataFrame) -> pd.DataFrame:
        """Return the table as it is.

        Raises:
            InputError: naming the first expectations that do not hold, with what was observed.
        """
        if not isinstance(data, pd.DataFrame):
            raise InputError(f"validator: expected a pandas DataFrame, got {type(data).__name__}")
        results = self._suite.run(data)
        failed = [_told(each, self._suite.raised(each)) for each in results if not each.success]
        if failed:
            more = len(failed) - self._most_failures
            text = "; ".join(failed[: self._most_failures])
            raise InputError(f"{text}; and {more} more" if more > 0 else text)
        return data

    @cached_property
    def _suite(self) -> "Suite":
        from ptq_pipeline.calibration.gx import Suite

        return Suite("catalog", self._expectations)


def _expectation(described: Mapping[str, Any]) -> Any:
    from ptq_pipeline.calibration.gx import core

    arguments = dict(described)
    kind = arguments.pop("type", None)
    if not isinstance(kind, str):
        raise InputError(f"validator: an expectation has no 'type': {described}")
    name = "".join(part.capitalize() for part in kind.split("_"))
    found = getattr(core, name, None)
    if found is None or not name.startswith("Expect"):
        raise InputError(f"validator: Great Expectations has no expectation '{kind}'")
    try:
        return found(**arguments)
    except (TypeError, ValueError) as error:
        reason = str(error).replace("\n", " ")[:MOST_CHARACTERS]
        raise InputError(f"validator: expectation '{kind}' is not complete: {reason}") from None


def _told(outcome: Any, error: str) -> str:
    config = outcome.expectation_config
    column = config.kwargs.get("column")
    where = f" of '{column}'" if column else ""
    if error:
        return f"{config.type}{where} could not be checked: {error}"[:MOST_CHARACTERS]
    found = outcome.result or {}
    observed = found.get("observed_value")
    if observed is None and "unexpected_count" in found:
        examples = ", ".join(map(repr, found.get("partial_unexpected_list", [])[:3]))
        observed = f"{found['unexpected_count']} of {found.get('element_count')} values"
        observed += f" (such as {examples})" if examples else ""
    return f"{config.type}{where} does not hold: {observed}"[:MOST_CHARACTERS]
