"""What switching to the integer model is worth, and how it compares with what serves."""

from collections.abc import Mapping
from typing import Any

from ptq_pipeline.reporting import tables
from ptq_pipeline.reporting.formatting import count, is_missing, number, points
from ptq_pipeline.reporting.tables import Row, Table, make_table
from ptq_pipeline.reporting.texts import Texts
from ptq_pipeline.reporting.wording import all_said, group_words, shift_name

Mapped = Mapping[str, Any]


def money_lines(texts: Texts, business: Mapped | None) -> list[str]:
    """Say in a few lines what is saved, what it risks, and where it breaks even."""
    if not business:
        return [texts("business.not_asked")]
    currency = business["currency"]

    def amount(value: float) -> str:
        return texts("business.amount", value=count(round(value)), currency=currency)

    def between(bounds: Any) -> str:
        return texts("format.interval", low=amount(bounds[0]), high=amount(bounds[1]))

    lines = [
        texts(f"business.says_{business['says']}"),
        texts(
            "business.balance",
            saving=amount(business["saving"]),
            loss=amount(business["loss"]),
            loss_interval=between(business["loss_interval"]),
            net=amount(business["net"]),
            net_interval=between(business["net_interval"]),
            requests=count(business["requests_per_month"]),
        ),
        texts(
            "business.worst_group",
            group=group_words(texts, "other", str(business["worst_group"])),
            loss=amount(business["worst_group_loss"]),
            interval=between(business["worst_group_loss_interval"]),
        ),
    ]
    even = business["break_even"]
    lines += [
        texts(f"business.even_{key}", value=shown(even[key]))
        for key, shown in (("drop", _drop), ("cost_factor", number), ("months", number))
        if not is_missing(even.get(key))
    ]
    return lines


def _drop(value: float) -> str:
    return points(value, 2)


def assumptions(texts: Texts, business: Mapped | None) -> list[str]:
    """Say what the business view takes for granted."""
    if not business:
        return []
    return all_said(texts, business["assumptions"], business.get("assumption_sentences"))


def business_table(texts: Texts, business: Mapped | None, max_rows: int) -> Table:
    """Give the groups that cost most first: errors added a month and what they cost."""
    groups = sorted((business or {}).get("groups") or (), key=lambda row: -row["loss"])
    rows = [
        Row(
            {
                "group": row["group"],
                "share": row["share"],
                "error_cost": row["error_cost"],
                "errors_added": round(row["errors_added"]),
                "errors_interval": row.get("errors_added_interval"),
                "loss": round(row["loss"]),
                "loss_interval": row.get("loss_interval"),
                "break_even_drop": row["break_even_drop"],
            }
        )
        for row in groups
    ]
    columns = (
        ("group", "name"),
        ("share", "percent"),
        ("error_cost", "number"),
        ("errors_added", "count"),
        ("errors_interval", "count_interval"),
        ("loss", "count"),
        ("loss_interval", "count_interval"),
        ("break_even_drop", "points"),
    )
    currency = (business or {}).get("currency", "")
    return make_table(texts, texts("business.caption", currency=currency), columns, rows, max_rows)


def champion_name(comparison: Mapped) -> str | None:
    """Give the version that the candidate was compared with, if one serves."""
    return None if not comparison else (comparison.get("champion") or {}).get("version")


def champion_line(texts: Texts, comparison: Mapped) -> str:
    """Say how the candidate compares with what serves, in one line."""
    version = champion_name(comparison)
    if version is None:
        return texts("champion.none")
    cells = [cell for cell in comparison.get("cells") or () if cell["judged"]]
    result = texts(f"badge.{comparison['result']}")
    if not cells:
        return texts("champion.line_open", version=version, result=result)
    worst = max(cells, key=lambda cell: cell["loss"] / cell["tolerance"])
    return texts(
        "champion.line",
        version=version,
        result=result,
        group=group_words(texts, worst["level"], worst["group"]),
        shift=shift_name(texts, worst["shift"]),
        loss=points(worst["loss"]),
        tolerance=points(worst["tolerance"]),
    )


_MARKS = {"not_judged": "hatched", "shown_bad": "bad"}
_CHAMPION = (
    ("group", "name"),
    ("shift", "text"),
    ("n", "count"),
    ("champion_accuracy", "percent"),
    ("candidate_accuracy", "percent"),
    ("loss_to_champion", "points"),
    ("interval", "interval"),
    ("tolerance", "points"),
    ("lost", "count"),
    ("gained", "count"),
    ("flips", "count"),
    ("status", "text"),
)


def champion_tables(texts: Texts, comparison: Mapped, most: int) -> tuple[Table, Table]:
    """Give the reasons of the comparison, and its groups with those that lose most on top."""
    reasons = list(comparison.get("reasons") or ())
    cells = sorted(
        comparison.get("cells") or (), key=lambda cell: (not cell["judged"], -cell["loss"])
    )
    rows = [
        Row(
            {
                "group": texts("group.all_images") if cell["level"] == "average" else cell["group"],
                "shift": shift_name(texts, cell["shift"]),
                "loss_to_champion": cell["loss"],
                "status": texts(f"status.{cell['status']}"),
                **{
                    key: cell[key]
                    for key in ("n", "champion_accuracy", "candidate_accuracy", "interval")
                },
                **{key: cell[key] for key in ("tolerance", "lost", "gained", "flips")},
            },
            "hatched"
            if not cell["judged"]
            else "bad"
            if cell["status"] == "shown_bad"
            else "plain",
        )
        for cell in cells
    ]
    return (
        tables.reasons_table(texts, "champion.caption_reasons", reasons, most),
        make_table(texts, texts("champion.caption"), _CHAMPION, rows, most),
    )
