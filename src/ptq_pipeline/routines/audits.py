"""What the trials of a project share, outside a run of its pipelines."""

from typing import Any

from ptq_pipeline.images.audit_data import AuditData
from ptq_pipeline.project import Project
from ptq_pipeline.stress.shifts import StressParameters
from ptq_pipeline.trials.audit import Audit
from ptq_pipeline.trials.recipe import Recipe


def audit_of(project: Project, **changes: Any) -> Audit:
    """Return what the trials of a project share; ``changes`` are of its recipe."""
    return Audit(
        AuditData(project.load("samples"), project.load("images")),
        # Whoever needs shifted images makes them.
        {},
        project.load("float_model"),
        project.load("trial_store"),
        project.settings("stress", StressParameters),
        project.settings("quantization", Recipe).model_copy(update=changes),
    )
