"""Small tables that `dvc plots` draws, for one revision or for several side by side."""

import pandas as pd

from ptq_pipeline.core.plain_text import table_cell

MOST_CELLS = 20
KEY = ["level", "group", "shift"]


def tabulate_plots(
    worst_case_table: pd.DataFrame, scores: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Keep what a plot can show: the cells that lose most, and their drops draw by draw.

    Args:
        worst_case_table: the candidate's cells beside the drops over all draws.
        scores: scores of all trials.

    Returns:
        ``worst_groups`` (name, drop_mean, drop_max, limit; judged cells, worst mean first), and
        ``drop_distribution`` (name, draw, drop; audit drops of the same cells).
    """
    worst = worst_case_table[worst_case_table["judged"].astype(bool)].head(MOST_CELLS)
    worst = worst.assign(name=_names(worst))
    evidence = scores[(scores["role"] == "evidence") & (scores["split"] == "audit")]
    drops = worst[[*KEY, "name"]].merge(evidence, on=KEY, how="left", validate="1:m")
    return (
        worst[["name", "drop_mean", "drop_max", "limit"]].reset_index(drop=True),
        drops.dropna(subset="drop")[["name", "draw", "drop"]].reset_index(drop=True),
    )


def _names(table: pd.DataFrame) -> pd.Series:
    names = table["group"].astype(str) + " (" + table["shift"].astype(str) + ")"
    # People open these tables in a spreadsheet.
    return names.map(table_cell)
