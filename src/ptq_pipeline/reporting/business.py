"""What switching to the integer model is worth, and how it compares with what serves."""

from ptq_pipeline.core.documents import Interval
from ptq_pipeline.judgement.business import BusinessView
from ptq_pipeline.judgement.champion import Comparison
from ptq_pipeline.reporting import tables
from ptq_pipeline.reporting.formatting import count, number, points
from ptq_pipeline.reporting.tables import Row, Table, make_table
from ptq_pipeline.reporting.texts import Texts
from ptq_pipeline.reporting.wording import all_said, group_words, shift_name


def money_lines(texts: Texts, business: BusinessView | None) -> list[str]:
    """Say in a few lines what is saved, what it risks, and where it breaks even."""
    if not business:
        return [texts("business.not_asked")]
    currency = business.currency

    def amount(value: float) -> str:
        return texts("business.amount", value=count(round(value)), currency=currency)

    def between(bounds: Interval) -> str:
        return texts("format.interval", low=amount(bounds[0]), high=amount(bounds[1]))

    lines = [
        texts(f"business.says_{business.says}"),
        texts(
            "business.balance",
            saving=amount(business.saving),
            loss=amount(business.loss),
            loss_interval=between(business.loss_interval),
            net=amount(business.net),
            net_interval=between(business.net_interval),
            requests=count(business.requests_per_month),
        ),
        texts(
            "business.worst_group",
            group=group_words(texts, "other", business.worst_group),
            loss=amount(business.worst_group_loss),
            interval=between(business.worst_group_loss_interval),
        ),
    ]
    even = business.break_even
    lines += [
        texts(f"business.even_{key}", value=shown(value))
        for key, value, shown in (
            ("drop", even.drop, _drop),
            ("cost_factor", even.cost_factor, number),
            ("months", even.months, number),
        )
        if value is not None
    ]
    return lines


def _drop(value: float) -> str:
    return points(value, 2)


def assumptions(texts: Texts, business: BusinessView | None) -> list[str]:
    """Say what the business view takes for granted."""
    if not business:
        return []
    return all_said(texts, business.assumptions, business.assumption_sentences)


def business_table(texts: Texts, business: BusinessView | None, max_rows: int) -> Table:
    """Give the groups that cost most first: errors added a month and what they cost."""
    groups = sorted(business.groups, key=lambda row: -row.loss) if business else []
    rows = [
        Row(
            {
                **group.model_dump(),
                "errors_added": round(group.errors_added),
                "errors_interval": group.errors_added_interval,
                "loss": round(group.loss),
            }
        )
        for group in groups
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
    currency = business.currency if business else ""
    return make_table(texts, texts("business.caption", currency=currency), columns, rows, max_rows)


def champion_name(comparison: Comparison | None) -> str | None:
    """Give the version that the candidate was compared with, if one serves."""
    return comparison.champion.version if comparison and comparison.champion else None


def champion_line(texts: Texts, comparison: Comparison | None) -> str:
    """Say how the candidate compares with what serves, in one line."""
    version = champion_name(comparison)
    if comparison is None or version is None:
        return texts("champion.none")
    result = texts(f"badge.{comparison.result}")
    cells = [cell for cell in comparison.cells if cell.judged]
    if not cells:
        return texts("champion.line_open", version=version, result=result)
    worst = max(cells, key=lambda cell: cell.drop / cell.limit)
    return texts(
        "champion.line",
        version=version,
        result=result,
        group=group_words(texts, worst.level, worst.group),
        shift=shift_name(texts, worst.shift),
        loss=points(worst.drop),
        tolerance=points(worst.limit),
    )


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


def champion_tables(texts: Texts, comparison: Comparison | None, most: int) -> tuple[Table, Table]:
    """Give the reasons of the comparison, and its groups with those that lose most on top."""
    reasons, cells = (comparison.reasons, comparison.cells) if comparison else ((), ())
    rows = [
        Row(
            {
                **cell.model_dump(by_alias=True),
                "group": tables.cell_group(texts, cell),
                "shift": shift_name(texts, cell.shift),
                "loss_to_champion": cell.drop,
                "status": texts(f"status.{cell.status}"),
            },
            "bad" if cell.status == "shown_bad" else "plain" if cell.judged else "hatched",
        )
        for cell in sorted(cells, key=lambda cell: (not cell.judged, -cell.drop))
    ]
    return (
        tables.reasons_table(texts, "champion.caption_reasons", reasons, most),
        make_table(texts, texts("champion.caption"), _CHAMPION, rows, most),
    )
