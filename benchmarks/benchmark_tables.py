"""Print the tables of docs/benchmark.md: ``python benchmarks/benchmark_tables.py [data folder]``.

Reads what ``make benchmark`` wrote. All of the effects are in ``effects.parquet``.
"""

import sys
from pathlib import Path

import pandas as pd

CLEAN = "clean"
SHOWN = ("worse", "better")


def interval(row: pd.Series, value: str, low: str, high: str) -> str:
    """Return ``value [low, high]`` in points."""
    return f"{row[value]:.1f} [{row[low]:.1f}, {row[high]:.1f}]"


def print_table(title: str, frame: pd.DataFrame) -> None:
    """Print a frame as markdown, without its index."""
    print(f"### {title}\n")
    print("| " + " | ".join(map(str, frame.columns)) + " |")
    print("|" + "---|" * len(frame.columns))
    for row in frame.itertuples(index=False):
        print("| " + " | ".join("" if pd.isna(value) else str(value) for value in row) + " |")
    print()


def wide(table: pd.DataFrame, index: str | list[str], columns: list[str]) -> pd.DataFrame:
    """Return ``text`` with one column per combination of ``columns``, in the order of the rows."""
    head = table[columns].agg(" ".join, axis=1)
    found = table.assign(head=head).pivot_table(
        index=index, columns="head", values="text", aggfunc="first", sort=False
    )
    return found.reset_index()


def drops(cells: pd.DataFrame) -> pd.DataFrame:
    """Return cells with what their worst class loses as ``text``."""
    names = ("worst_class_drop", "worst_class_low", "worst_class_high")
    return cells.assign(text=[interval(row, *names) for _, row in cells.iterrows()])


def print_one_factor(study: str, cells: pd.DataFrame, effects: pd.DataFrame) -> None:
    """Print what the worst class loses on clean images, and the effects against the reference."""
    here = drops(cells[(cells["study"] == study) & (cells["shift"] == CLEAN)])
    print_table(
        f"{study}: points that the worst class loses, clean images",
        wide(here, "calibration", ["model", "method"]),
    )
    change = effects[
        (effects["study"] == study)
        & (effects["factor"] == "calibration")
        & (effects["method"] != "all")
    ]
    clean = change[change["shift"] == CLEAN].copy()
    if clean.empty:
        return
    clean["text"] = [
        interval(row, "effect", "low", "high") + (f" {row['result']}" * (row["result"] in SHOWN))
        for _, row in clean.iterrows()
    ]
    print_table(
        f"{study}: against {clean['against'].iloc[0]}, clean images",
        wide(clean, "level", ["model", "method"]),
    )
    shown = change[(change["shift"] != CLEAN) & change["result"].isin(SHOWN)].copy()
    others = int((change["shift"] != CLEAN).sum())
    print(f"Under the other shifts {len(shown)} of {others} effects are shown:\n")
    for _, row in shown.iterrows():
        where = f"{row['model']} {row['method']}, {row['shift']}"
        print(f"- {row['level']}, {where}: {interval(row, 'effect', 'low', 'high')}")
    print()


def print_methods(cells: pd.DataFrame, effects: pd.DataFrame) -> None:
    """Print what each method loses with random sets under each shift, beside the first one."""
    random = cells[(cells["study"] == "strategies") & (cells["calibration"] == "random")]
    found = effects[(effects["study"] == "strategies") & (effects["factor"] == "method")]
    keys = ["model", "bits", "method", "shift"]
    result = found.set_index(keys)["result"].to_dict()
    for shift in random["shift"].unique():
        here = drops(random[random["shift"] == shift])
        marks = [result.get(key, "") for key in here[keys].itertuples(index=False, name=None)]
        here["text"] += [f" {mark}" * (mark in SHOWN) for mark in marks]
        print_table(
            f"Methods with random sets, {shift}: worst class, and whether shown against minmax",
            wide(here, ["model", "method"], ["bits"]),
        )
    average = random[random["shift"] == CLEAN].assign(
        text=lambda rows: rows["average_drop"].map("{:.1f}".format) + ", " + rows["class"]
    )
    print_table(
        "The average with random sets, clean images, and the worst class",
        wide(average, ["model", "method"], ["bits"]),
    )


def print_strategies(effects: pd.DataFrame) -> None:
    """Print how often each strategy is shown worse or better than random, and by how much."""
    found = effects[
        (effects["study"] == "strategies")
        & (effects["factor"] == "calibration")
        & (effects["method"] != "all")
    ]
    rows = []
    for level, part in found.groupby("level", sort=False):
        shown = part[part["result"].isin(SHOWN)]
        largest = shown.loc[shown["effect"].abs().idxmax()] if len(shown) else None
        low, high = part["effect"].quantile([0.05, 0.95])
        rows.append(
            {
                "strategy": level,
                "effects": len(part),
                "shown worse": int((part["result"] == "worse").sum()),
                "shown better": int((part["result"] == "better").sum()),
                "median": f"{part['effect'].median():.1f}",
                "90 % of them": f"{low:.1f} to {high:.1f}",
                "largest shown": ""
                if largest is None
                else f"{largest['effect']:.1f} ({largest['model']} {largest['bits']} "
                f"{largest['method']}, {largest['shift']})",
            }
        )
    print_table(
        "Strategies against random: over models, bits, methods and shifts", pd.DataFrame(rows)
    )


def print_variance(variance: pd.DataFrame) -> None:
    """Print where the spread of the worst class's drop comes from, medians over calibrations."""
    here = variance[(variance["shift"] == CLEAN) & (variance["study"] == "strategies")]
    columns = ["sd_between_draws", "sd_between_image_sets", "draw_share"]
    median = here.groupby(["model", "bits", "method"], sort=False)[columns].median().reset_index()
    median["text"] = [
        f"{row.sd_between_draws:.1f} / {row.sd_between_image_sets:.1f} / "
        f"{100 * row.draw_share:.0f} %"
        for row in median.itertuples()
    ]
    print_table(
        "Worst class, clean: spread between draws / between image sets in points / draw's share",
        wide(median, ["model", "method"], ["bits"]),
    )
    seeded = variance[variance["seeds"] > 1]
    kept = ["model", "bits", "method", "shift", "class", "draws", "seeds"]
    spreads = ["sd_between_draws", "sd_between_seeds", "sd_between_image_sets"]
    print_table("Seeds of a method within draws, points", seeded[kept + spreads].round(2))


def main(folder: Path) -> None:
    """Print all tables."""
    cells = pd.read_parquet(folder / "cells.parquet")
    effects = pd.read_parquet(folder / "effects.parquet")
    for study in cells["study"].unique():
        if study != "strategies":
            print_one_factor(study, cells, effects)
    print_methods(cells, effects)
    print_strategies(effects)
    print_variance(pd.read_parquet(folder / "variance.parquet"))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("data/08_reporting/benchmark"))
