"""Print the tables of docs/benchmark.md: ``python benchmarks/benchmark_tables.py [data folder]``.

Reads what ``kedro run --pipelines benchmark`` wrote.
"""

import sys
from pathlib import Path

import pandas as pd


def interval(row: pd.Series, value: str, low: str, high: str) -> str:
    """Return ``value [low, high]`` in points."""
    return f"{row[value]:.1f} [{row[low]:.1f}, {row[high]:.1f}]"


def print_table(frame: pd.DataFrame) -> None:
    """Print a frame as markdown, without its index."""
    print("| " + " | ".join(frame.columns) + " |")
    print("|" + "---|" * len(frame.columns))
    for row in frame.itertuples(index=False):
        print("| " + " | ".join(str(value) for value in row) + " |")
    print()


def pivoted(table: pd.DataFrame, index: list[str]) -> pd.DataFrame:
    """Return one column per model, bits and method."""
    heads = table["model"] + " " + table["bits"] + " " + table["method"]
    wide = table.assign(head=heads).pivot_table(
        index=index, columns="head", values="text", aggfunc="first", sort=False
    )
    return wide.reset_index().fillna("")


def print_methods(cells: pd.DataFrame, effects: pd.DataFrame) -> None:
    """Print what every method loses with the reference calibration, and against the first one."""
    chosen = effects[(effects["factor"] == "method") & (effects["shift"] == cells["shift"].iloc[0])]
    shown = chosen.set_index(["model", "bits", "method"])["result"].to_dict()
    rows = cells[cells["calibration"] == cells["calibration"].iloc[0]].copy()
    rows["head"] = rows["model"] + " " + rows["bits"]
    rows["text"] = [
        row["text"] + (f" {found}" if found in ("worse", "better") else "")
        for _, row in rows.iterrows()
        for found in [shown.get((row["model"], row["bits"], row["method"]))]
    ]
    print("### Methods with random sets: worst class, and whether shown against the first\n")
    wide = rows.pivot_table(
        index="method", columns="head", values="text", aggfunc="first", sort=False
    )
    print_table(wide.reset_index())


def main(folder: Path) -> None:
    """Print drops per cell, effects, and variance components on clean images."""
    cells = pd.read_parquet(folder / "cells.parquet")
    effects = pd.read_parquet(folder / "effects.parquet")
    variance = pd.read_parquet(folder / "variance.parquet")
    for shift in cells["shift"].unique():
        for study in cells["study"].unique():
            here = cells[(cells["study"] == study) & (cells["shift"] == shift)].copy()
            names = ("worst_class_drop", "worst_class_low", "worst_class_high")
            here["text"] = [interval(row, *names) for _, row in here.iterrows()]
            print(f"### {study}, {shift}: points that the worst class loses\n")
            print_table(pivoted(here, ["calibration"]))
            if study == "strategies":
                print_methods(here, effects)
            change = effects[
                (effects["study"] == study)
                & (effects["shift"] == shift)
                & (effects["factor"] == "calibration")
                & (effects["method"] != "all")
            ].copy()
            if len(change):
                change["text"] = [
                    interval(row, "effect", "low", "high") + f" {row['result']}"
                    for _, row in change.iterrows()
                ]
                print(f"### {study}, {shift}: against {change['against'].iloc[0]}\n")
                print_table(pivoted(change, ["level"]))
    shares = variance[variance["shift"] == "clean"].groupby(["model", "bits", "method"], sort=False)
    print("### Spread of the worst class's drop, medians over calibrations, points\n")
    columns = ["sd_between_draws", "sd_between_image_sets", "draw_share"]
    print_table(shares[columns].median().round(2).reset_index())


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("data/08_reporting/benchmark"))
