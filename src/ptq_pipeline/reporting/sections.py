"""Tables of the report's later sections: strategies, calibration sets, parity, drift, trials."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from ptq_pipeline.reporting.formatting import plain_name
from ptq_pipeline.reporting.tables import Row, Table, make_table, worst_first_if_long
from ptq_pipeline.reporting.texts import Texts
from ptq_pipeline.reporting.wording import identifier_name, shift_name


def strategy_table(texts: Texts, drops: pd.DataFrame) -> Table:
    """Compare strategies on the selection split; ``drops`` as from ``frames.strategy_drops``."""
    rows = []
    for strategy in dict.fromkeys(drops["strategy"]):
        here = drops[drops["strategy"] == strategy]
        role = "evidence" if (here["role"] == "evidence").any() else "comparison"
        worst = here.sort_values(["worst_class_drop", "draw"], ascending=[False, True]).iloc[0]
        rows.append(
            Row(
                {
                    "strategy": identifier_name(texts, strategy),
                    "role": texts(f"role.{role}"),
                    "draws": len(here),
                    "average_mean": float(here["average_drop"].mean()),
                    "average_worst": float(here["average_drop"].max()),
                    "class_mean": float(here["worst_class_drop"].mean()),
                    "class_worst": float(worst["worst_class_drop"]),
                    "class_named": worst["worst_class"],
                    "shift": shift_name(texts, str(worst["worst_shift"])),
                },
                "strong" if role == "evidence" else "plain",
            )
        )
    columns = (
        ("strategy", "name"),
        ("role", "text"),
        ("draws", "count"),
        ("average_mean", "points"),
        ("average_worst", "points"),
        ("class_mean", "points"),
        ("class_worst", "points"),
        ("class_named", "name"),
        ("shift", "text"),
    )
    images = int(drops["n"].iloc[0]) if len(drops) else 0
    return make_table(texts, texts("strategies.caption", images=f"{images:,}"), columns, rows)


def trial_table(texts: Texts, trials: pd.DataFrame) -> Table:
    """Count trials that are done and that failed, per strategy and role."""
    rows = []
    for (role, strategy), here in trials.groupby(["role", "strategy"], sort=True):
        failed = here[here["status"] != "done"]
        errors = "; ".join(dict.fromkeys(str(error) for error in failed["error"] if error))
        rows.append(
            Row(
                {
                    "strategy": identifier_name(texts, strategy),
                    "role": texts(f"role.{role}"),
                    "trials": len(here),
                    "failed": len(failed),
                    "error": errors or None,
                },
                "bad" if len(failed) else "plain",
            )
        )
    rows.sort(key=lambda row: row.values["role"] != texts("role.evidence"))
    columns = (
        ("strategy", "name"),
        ("role", "text"),
        ("trials", "count"),
        ("failed", "count"),
        ("error", "name"),
    )
    return make_table(texts, texts("trials.caption"), columns, rows)


def set_table(texts: Texts, index: pd.DataFrame) -> Table:
    """Count calibration sets that were drawn and rejected, per strategy."""
    rows = []
    for (role, strategy), here in index.groupby(["role", "strategy"], sort=True):
        rejected = int((~here["valid"].astype(bool)).sum())
        rows.append(
            Row(
                {
                    "strategy": identifier_name(texts, strategy),
                    "role": texts(f"role.{role}"),
                    "size": int(here["size"].max()),
                    "drawn": len(here),
                    "rejected": rejected,
                    "rejected_share": rejected / len(here),
                },
                "strong" if role == "evidence" else "plain",
            )
        )
    rows.sort(key=lambda row: row.values["role"] != texts("role.evidence"))
    columns = (
        ("strategy", "name"),
        ("role", "text"),
        ("size", "count"),
        ("drawn", "count"),
        ("rejected", "count"),
        ("rejected_share", "percent"),
    )
    return make_table(texts, texts("sets.caption"), columns, rows)


def expectation_table(texts: Texts, validation: pd.DataFrame) -> tuple[Table, int]:
    """Count per strategy which expectations failed how often.

    Returns:
        The table of those that failed or raised at least once, and how many combinations of
        strategy, expectation and column never failed.
    """
    rows: list[Row] = []
    clean = 0
    keys = ["strategy", "expectation", "column", "metric"]
    frame = validation.assign(
        **{key: validation[key].fillna("").astype(str) for key in keys},
        raised=validation["error"].fillna("").astype(str) != "",
    )
    for (strategy, expectation, column, metric), here in frame.groupby(keys, sort=True):
        raised = int(here["raised"].sum())
        failed = int((~here["success"].astype(bool) & ~here["raised"]).sum())
        if not failed and not raised:
            clean += 1
            continue
        rows.append(
            Row(
                {
                    "strategy": identifier_name(texts, strategy),
                    "expectation": plain_name(expectation),
                    "column": column or None,
                    "metric": plain_name(metric) or None,
                    "checked": len(here),
                    "failed": failed,
                    "raised": raised,
                    "observed_median": float(here["observed"].median()),
                    "threshold": float(here["threshold"].median()),
                }
            )
        )
    columns = (
        ("strategy", "name"),
        ("expectation", "name"),
        ("column", "name"),
        ("metric", "text"),
        ("checked", "count"),
        ("failed", "count"),
        ("raised", "count"),
        ("observed_median", "number"),
        ("threshold", "number"),
    )
    return make_table(texts, texts("expectations.caption"), columns, rows), clean


def parity_table(
    texts: Texts,
    parity: pd.DataFrame,
    trial_id: str | None,
    classes: Sequence[str],
    max_rows: int,
) -> Table:
    """Compare simulated and serving runtime per class, for the candidate where it was measured."""
    trials = list(dict.fromkeys(parity["trial_id"]))
    shown = trial_id if trial_id in trials else (trials[0] if trials else None)
    here = parity[parity["trial_id"] == shown]
    order = {name: place for place, name in enumerate(classes)}
    records = sorted(
        here.to_dict("records"),
        key=lambda record: (order.get(str(record["class"]), -1), str(record["class"])),
    )
    rows = [
        Row(
            {
                "class": record["class"],
                "n": record["n"],
                "agreement": record["agreement"],
                "difference": record["difference"],
            }
        )
        for record in records
    ]
    columns = (
        ("class", "name"),
        ("n", "count"),
        ("agreement", "percent"),
        ("difference", "points"),
    )
    which = "candidate" if shown is not None and shown == trial_id else "other"
    rows = worst_first_if_long(rows, "difference", max_rows)
    return make_table(texts, texts(f"parity.caption_{which}"), columns, rows, max_rows)


@dataclass(frozen=True)
class DriftBlock:
    """One comparison: how many columns drifted, and the two tables, drifted ones first."""

    comparison: str
    drifted: int
    columns: int
    drifted_table: Table
    other_table: Table


def drift_blocks(texts: Texts, drift: pd.DataFrame) -> list[DriftBlock]:
    """Give one block per comparison, in the order of the table."""
    blocks = []
    for comparison in dict.fromkeys(drift["comparison"]):
        here = drift[drift["comparison"] == comparison].sort_values("column")
        flags = here["drifted"].astype(bool)
        name = identifier_name(texts, comparison)
        tables = [
            make_table(texts, texts(f"drift.caption_{key}", comparison=name), _DRIFT, rows)
            for key, rows in (
                ("drifted", _drift_rows(texts, here[flags])),
                ("other", _drift_rows(texts, here[~flags])),
            )
        ]
        blocks.append(DriftBlock(name, int(flags.sum()), len(here), tables[0], tables[1]))
    return blocks


_DRIFT = (
    ("column", "name"),
    ("method", "text"),
    ("value", "number"),
    ("threshold", "number"),
    ("n", "count"),
    ("drift_state", "text"),
)


def _drift_rows(texts: Texts, frame: pd.DataFrame) -> list[Row]:
    return [
        Row(
            {
                "column": record["column"],
                "method": plain_name(record["method"]),
                "value": record["value"],
                "threshold": record["threshold"],
                "n": record["n"],
                "drift_state": texts("word.drifted" if record["drifted"] else "word.not_drifted"),
            },
            "bad" if record["drifted"] else "plain",
        )
        for record in frame.to_dict("records")
    ]
