"""What explains and decides nothing: strategies, calibration sets, the files that ship, drift."""

from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

import pandas as pd

from ptq_pipeline.artifact.speed import Ratio
from ptq_pipeline.judgement.decision import Execution
from ptq_pipeline.reporting.formats import MISSING, count, number, plain_name
from ptq_pipeline.reporting.tables import Part, Row, Table

# Of weights in OpenVINO's file, whatever they are quantized to.
STORED_BITS = 8


class DriftBlock(NamedTuple):
    """One comparison: how many columns drifted, and the two tables, drifted ones first."""

    comparison: str
    drifted: int
    columns: int
    drifted_table: Table
    other_table: Table


class Background(Part):
    """Values of ``background.html.j2``."""

    @cached_property
    def strategies(self) -> Table:
        """Strategies compared on the selection split."""
        drops = self.audit.strategy_drops()
        rows = []
        for strategy, here in drops.groupby("strategy", sort=False):
            role = "evidence" if (here["role"] == "evidence").any() else "comparison"
            worst = here.sort_values(["worst_class_drop", "draw"], ascending=[False, True]).iloc[0]
            values = {
                "strategy": self.texts.identifier(strategy),
                "role": self.texts(f"role.{role}"),
                "draws": len(here),
                "average_mean": float(here["average_drop"].mean()),
                "average_worst": float(here["average_drop"].max()),
                "class_mean": float(here["worst_class_drop"].mean()),
                "class_worst": float(worst["worst_class_drop"]),
                "class_named": worst["worst_class"],
                "shift": self.texts.shift_name(str(worst["worst_shift"])),
            }
            rows.append(Row(values, "strong" if role == "evidence" else "plain"))
        images = int(drops["n"].iloc[0]) if len(drops) else 0
        return self.table(self.texts("strategies.caption", images=f"{images:,}"), rows)

    @cached_property
    def trials(self) -> Table:
        """Trials that are done and that failed, per strategy and role."""
        rows = []
        for words, _, here in self._by_strategy(self.audit.trials):
            failed = here[here["status"] == "failed"]
            errors = "; ".join(dict.fromkeys(str(error) for error in failed["error"] if error))
            values = {"trials": len(here), "failed": len(failed), "error": errors or None}
            rows.append(Row(words | values, "bad" if len(failed) else "plain"))
        return self.table(self.texts("trials.caption"), rows)

    @cached_property
    def sets(self) -> Table:
        """Calibration sets that were drawn and rejected, per strategy and role."""
        rows = []
        for words, role, here in self._by_strategy(self.audit.calibration_set_index):
            rejected = int((~here["valid"].astype(bool)).sum())
            values = {
                "size": int(here["size"].max()),
                "drawn": len(here),
                "rejected": rejected,
                "rejected_share": rejected / len(here),
            }
            rows.append(Row(words | values, "strong" if role == "evidence" else "plain"))
        return self.table(self.texts("sets.caption"), rows)

    def _by_strategy(
        self, table: pd.DataFrame
    ) -> Iterator[tuple[dict[str, str], str, pd.DataFrame]]:
        """Yield strategy and role in words, the role, and its rows; the recipe's first."""
        groups = [
            (role, strategy, here) for (role, strategy), here in table.groupby(["role", "strategy"])
        ]
        for role, strategy, here in sorted(groups, key=lambda group: group[0] != "evidence"):
            words = {
                "strategy": self.texts.identifier(strategy),
                "role": self.texts(f"role.{role}"),
            }
            yield words, role, here

    @cached_property
    def expectations(self) -> tuple[Table, int]:
        """Which expectations failed how often, per strategy, and how many others never failed."""
        validation = self.audit.calibration_validation
        keys = ["strategy", "expectation", "column", "metric"]
        frame = validation.assign(
            **{key: validation[key].fillna("").astype(str) for key in keys},
            raised=validation["error"].fillna("").astype(str) != "",
        )
        frame["failed"] = ~frame["success"].astype(bool) & ~frame["raised"]
        rows, clean = [], 0
        for (strategy, expectation, column, metric), here in frame.groupby(keys):
            failed, raised = int(here["failed"].sum()), int(here["raised"].sum())
            values = {
                "strategy": self.texts.identifier(strategy),
                "expectation": plain_name(expectation),
                "column": column or None,
                "metric": plain_name(metric) or None,
                "checked": len(here),
                "failed": failed,
                "raised": raised,
                "observed_median": float(here["observed"].median()),
                "threshold": float(here["threshold"].median()),
            }
            if failed or raised:
                rows.append(Row(values))
            else:
                clean += 1
        return self.table(self.texts("expectations.caption"), rows), clean

    @cached_property
    def parity(self) -> Table:
        """Simulated and serving runtime per class, for the candidate where it was measured."""
        parity, trial = self.audit.parity, self.audit.verdict.candidate.trial_id
        measured = list(dict.fromkeys(parity["trial_id"]))
        own = trial in measured
        here = parity[parity["trial_id"] == (trial if own else next(iter(measured), None))]
        place = {name: index for index, name in enumerate(self.audit.classes)}
        keys = ("class", "n", "agreement", "difference")
        records = sorted(
            here.to_dict("records"),
            key=lambda record: (place.get(str(record["class"]), -1), str(record["class"])),
        )
        rows = self.worst_first_if_long([Row(record) for record in records], "difference")
        caption = self.texts(f"parity.caption_{'candidate' if own else 'other'}")
        return self.table(caption, rows, keys)

    @cached_property
    def drift(self) -> list[DriftBlock]:
        """One block per comparison, in the order of the table."""
        blocks = []
        table = self.audit.drift_table.sort_values("column", kind="stable")
        for comparison in dict.fromkeys(self.audit.drift_table["comparison"]):
            name, here = self.texts.identifier(comparison), table[table["comparison"] == comparison]
            drifted = here["drifted"].astype(bool)
            tables = [
                self.table(
                    self.texts(f"drift.caption_{key}", comparison=name),
                    [self._drift_row(record) for record in part.to_dict("records")],
                )
                for key, part in (("drifted", here[drifted]), ("other", here[~drifted]))
            ]
            blocks.append(DriftBlock(name, int(drifted.sum()), len(here), *tables))
        return blocks

    def _drift_row(self, record: dict) -> Row:
        drifted = record["drifted"]
        values = {
            **{key: record[key] for key in ("column", "method", "value", "threshold", "n")},
            "method": plain_name(record["method"]),
            "drift_state": self.texts("word.drifted" if drifted else "word.not_drifted"),
        }
        return Row(values, "bad" if drifted else "plain")

    @cached_property
    def _executed(self) -> Execution:
        return self.audit.candidate_execution or Execution()

    @cached_property
    def execution(self) -> Table:
        """For every shift how many images the exported file answers other than judged."""
        rows = [
            Row(
                {"shift": self.texts.shift_name(shift), **answers.model_dump()},
                "bad" if answers.different else "plain",
            )
            for shift, answers in self._executed.answers.items()
        ]
        files = ", ".join(self._executed.files)
        return self.table(self.texts("artifact.caption_execution", files=files), rows)

    @cached_property
    def other_files(self) -> Table:
        """Of every file beside the served one whether it answers as judged and ships."""
        rows = []
        for other in self._executed.others:
            mode = f" ({other.optimization})" if other.optimization else ""
            values = {
                "file": other.file,
                "executed_in": other.runtime + mode,
                "n": other.n,
                "different": other.different,
                "ships": self.texts("artifact.ships_yes" if other.ships else "artifact.ships_no"),
            }
            rows.append(Row(values, "plain" if other.ships else "bad"))
        return self.table(self.texts("artifact.caption_others"), rows)

    @cached_property
    def exported_parity(self) -> Table:
        """The exported file beside the simulation, class by class."""
        rows = [Row(each.model_dump(by_alias=True)) for each in self._executed.parity]
        rows = self.worst_first_if_long(rows, "drop_difference")
        keys = ("class", "n", "agreement", "drop_difference")
        caption = self.texts("artifact.caption_parity")
        return self.table(caption, rows, keys)

    @cached_property
    def speed(self) -> Table:
        """Float model and candidate side by side: size, latency and throughput."""
        measured = self.audit.candidate_speed
        found = {"float": measured.float_, "candidate": measured.candidate} if measured else {}
        rows = [
            Row(
                {
                    "model": self.texts(f"artifact.model_{key}"),
                    "kib": round(model.bytes / 1024),
                    "latency_ms": model.latency_ms,
                    "images_per_second": round(model.images_per_second),
                }
            )
            for key, model in found.items()
            if model
        ]
        batch = count(measured.batch_size if measured else None)
        return self.table(self.texts("artifact.caption_speed", batch=batch), rows)

    @cached_property
    def speed_conditions(self) -> str:
        """Where the speed was measured: runtime, threads and processor."""
        measured = self.audit.candidate_speed
        if measured is None:
            return ""
        runtime = measured.runtime
        return self.texts(
            "artifact.conditions",
            runtime=f"{runtime.name} {runtime.version}",
            threads=runtime.threads or MISSING,
            rounds=measured.rounds,
            machine=" ".join([measured.machine, *runtime.cpu_flags]),
        )

    @cached_property
    def speed_lines(self) -> list[str]:
        """How much smaller and faster the candidate is; none if not measured."""
        measured = self.audit.candidate_speed
        if measured is None or measured.float_ is None or measured.candidate is None:
            return []
        before, now = measured.float_, measured.candidate
        size = self.texts(
            "artifact.size",
            size=number(now.bytes / before.bytes, 2),
            candidate_kib=count(now.bytes / 1024),
            float_kib=count(before.bytes / 1024),
        )
        lines = [
            size,
            *self._speed_of("one_image", measured.one_image),
            *self._speed_of("batches", measured.batches),
        ]
        return [*lines, *([self.stored_wider] if self.stored_wider else [])]

    def _speed_of(self, key: str, ratio: Ratio | None) -> list[str]:
        """One sentence on how many times as fast it is; none where it was not measured in turn."""
        measured = self.audit.candidate_speed
        if measured is None or ratio is None:
            return []
        words = {"low": number(ratio.low, 2), "high": number(ratio.high, 2)}
        said = self.texts(f"artifact.{key}", batch=count(measured.batch_size))
        kind = "faster" if ratio.reliable else "unreliable"
        words |= {"what": said, "median": number(ratio.median, 2)}
        return [self.texts(f"artifact.{kind}", n=measured.rounds, **words)]

    @cached_property
    def stored_wider(self) -> str:
        """That weights are stored wider than they are; empty where they are not."""
        recipe = self.audit.recipe
        bits = recipe.get("method", {}).get("weight_bits", STORED_BITS)
        wider = bits < STORED_BITS and recipe["runtime"]["name"] == "openvino"
        return self.texts("artifact.stored_wider", bits=bits) if wider else ""
