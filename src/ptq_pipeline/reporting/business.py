"""What switching to the integer model is worth, and how it compares with what serves."""

from functools import cached_property

from ptq_pipeline.core.documents import Interval
from ptq_pipeline.judgement.champion import Comparison
from ptq_pipeline.reporting.formats import count, number, points
from ptq_pipeline.reporting.results import worst_first
from ptq_pipeline.reporting.states import STATES
from ptq_pipeline.reporting.tables import Part, Row, Table, cell_values

_CHAMPION = (
    *("group", "shift", "n", "champion_accuracy", "candidate_accuracy", "loss_to_champion"),
    *("interval", "tolerance", "lost", "gained", "flips", "status"),
)


class Worth(Part):
    """Values of ``worth.html.j2``."""

    @cached_property
    def money(self) -> list[str]:
        """What is saved, what it risks, and where it breaks even."""
        texts, view = self.texts, self.audit.verdict.business
        if view is None:
            return [texts("business.not_asked")]

        def amount(value: float) -> str:
            return texts("business.amount", value=count(round(value)), currency=view.currency)

        def between(bounds: Interval) -> str:
            return texts.interval(bounds, amount)

        even = view.break_even
        lines = [
            texts(f"business.says_{view.says}"),
            texts(
                "business.balance",
                saving=amount(view.saving),
                loss=amount(view.loss),
                loss_interval=between(view.loss_interval),
                net=amount(view.net),
                net_interval=between(view.net_interval),
                requests=count(view.requests_per_month),
            ),
            texts(
                "business.worst_group",
                group=texts.group("other", view.worst_group),
                loss=amount(view.worst_group_loss),
                interval=between(view.worst_group_loss_interval),
            ),
        ]
        if even.drop is not None:
            lines.append(texts("business.even_drop", value=points(even.drop, 2)))
        if even.cost_factor is not None:
            lines.append(texts("business.even_cost_factor", value=number(even.cost_factor)))
        if even.months is not None:
            lines.append(texts("business.even_months", value=number(even.months)))
        return lines

    @cached_property
    def assumptions(self) -> list[str]:
        """What the business view takes for granted."""
        view = self.audit.verdict.business
        return self.texts.all_said(view.assumptions, view.assumption_sentences) if view else []

    @cached_property
    def groups(self) -> Table:
        """The groups that cost most first: errors added a month and what they cost."""
        view = self.audit.verdict.business
        rows = [
            Row(
                {
                    "group": group.group,
                    "share": group.share,
                    "error_cost": group.error_cost,
                    "errors_added": round(group.errors_added),
                    "errors_interval": group.errors_added_interval,
                    "loss": round(group.loss),
                    "loss_interval": group.loss_interval,
                    "break_even_drop": group.break_even_drop,
                }
            )
            for group in sorted(view.groups if view else (), key=lambda group: -group.loss)
        ]
        caption = self.texts("business.caption", currency=view.currency if view else "")
        return self.table(caption, rows)

    @cached_property
    def _compared(self) -> Comparison:
        return self.audit.champion_comparison or Comparison(result="NONE", champion=None)

    @cached_property
    def champion(self) -> str | None:
        """The version that the candidate was compared with, if one serves."""
        return self._compared.champion.version if self._compared.champion else None

    @cached_property
    def champion_line(self) -> str:
        """How the candidate compares with what serves, in one line."""
        texts, compared, version = self.texts, self._compared, self.champion
        if version is None:
            return texts("champion.none")
        result = texts(f"badge.{compared.result}")
        cells = [cell for cell in compared.cells if cell.judged]
        if not cells:
            return texts("champion.line_open", version=version, result=result)
        worst = worst_first(cells)[0]
        return texts(
            "champion.line",
            version=version,
            result=result,
            group=texts.group(worst.level, worst.group),
            shift=texts.shift_name(worst.shift),
            loss=points(worst.drop),
            tolerance=points(worst.limit),
        )

    @cached_property
    def champion_reasons(self) -> Table:
        """The reasons of the comparison."""
        reasons = self._compared.reasons
        return self.reasons_table("champion.caption_reasons", reasons)

    @cached_property
    def champion_cells(self) -> Table:
        """The groups of the comparison, those that lose most first."""
        cells = self._compared.cells
        rows = [
            Row(
                {**cell_values(self.texts, cell), "loss_to_champion": cell.drop},
                STATES[cell.status].mark,
            )
            for cell in worst_first(cells)
        ]
        return self.table(self.texts("champion.caption"), rows, _CHAMPION)

    @cached_property
    def not_compared(self) -> list[str]:
        """The shifts that the champion was not audited under."""
        return [self.texts.shift_name(each) for each in self._compared.not_compared]
