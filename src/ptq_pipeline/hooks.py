"""Hooks: refuse unknown parameter groups, write provenance, end a run with three plain lines."""

import sys
import time
from pathlib import Path
from typing import Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol
from kedro.pipeline import Node, Pipeline

from ptq_pipeline.errors import InputError

PARAMETER_GROUPS = frozenset(
    {
        "data_loading",
        "stress",
        "calibration",
        "quantization",
        "subgroup_scoring",
        "drift",
        "worst_case_check",
        "promotion",
        "reporting",
        "reference_training",
    }
)


class ParameterGroupHooks:
    """An unknown top-level parameter group is an error before anything runs.

    Unknown keys inside a group are refused by the group's pydantic model.
    """

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Check the groups of the configuration and of ``--params``."""
        unknown = sorted(set(context.params) - PARAMETER_GROUPS)
        if unknown:
            raise InputError(
                f"unknown parameter group(s) {', '.join(unknown)} in conf/ or --params; the groups "
                f"are {', '.join(sorted(PARAMETER_GROUPS))}"
            )


class ProvenanceHooks:
    """What must not stand in reproducible outputs: versions, CPU, git revision and run times.

    It is saved to the catalog entry ``provenance`` after every successful run, where there is one.
    """

    def __init__(self) -> None:
        self._run_started = self._node_started = time.monotonic()
        self._node_seconds: dict[str, float] = {}

    @hook_impl
    def before_pipeline_run(self) -> None:
        """Start the clock of the run."""
        self._run_started = time.monotonic()
        self._node_seconds = {}

    @hook_impl
    def before_node_run(self) -> None:
        """Start the clock of the node."""
        self._node_started = time.monotonic()

    @hook_impl
    def after_node_run(self, node: Node) -> None:
        """Stop the clock of the node; loading and saving its datasets is not counted."""
        self._node_seconds[node.name] = round(time.monotonic() - self._node_started, 2)

    @hook_impl
    def after_pipeline_run(self, run_params: dict[str, Any], catalog: CatalogProtocol) -> None:
        """Save the provenance of this run."""
        if "provenance" not in catalog:
            return
        from ptq_pipeline.provenance import describe_machine

        catalog.save(
            "provenance",
            {
                **describe_machine(Path(run_params["project_path"])),
                "environment": run_params.get("env") or "base",
                "pipelines": run_params.get("pipeline_names") or ["__default__"],
                "seconds": round(time.monotonic() - self._run_started, 1),
                "node_seconds": self._node_seconds,
            },
        )


class SummaryHooks:
    """End a run that wrote the report with three lines: decision, worst group, report."""

    @hook_impl
    def after_pipeline_run(self, pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        """Print the lines."""
        if "summary" not in pipeline.all_outputs():
            return
        summary = catalog.load("summary")
        sys.stdout.write("\n".join(["", *summary["lines"], ""]))
        sys.stdout.flush()
