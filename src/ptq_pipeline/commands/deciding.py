"""The decision that a command is about to act on, held against everything that it rests on."""

from pathlib import Path
from typing import Any

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.project import Project
from ptq_pipeline.registry import Decision, Evidence, candidate_files

# What has to stand beside a decision, by its name in the catalog.
BESIDE = ("verdict", "champion_comparison", "candidate_execution")
PARTS = ("decision", *BESIDE, "candidate_model")


def load_parts(project: Project) -> dict[str, Any]:
    """Load a decision and all that it rests on; whoever acts on a decision reads it by this.

    Raises:
        InputError: naming what is missing or damaged, and how it comes back.
    """
    parts = {"decision": project.load("decision")}
    for name in PARTS[1:]:
        try:
            parts[name] = project.load(name)
        except InputError as error:
            raise InputError(
                f"the decision rests on '{place(project, name)}', which is needed to act on it: "
                f"{error}. Of an audit that git and DVC keep, `dvc pull` brings it back"
            ) from error
    return parts


def current_decision(project: Project) -> tuple[Decision, Evidence]:
    """Return the decision of the last audit and what it rests on, after deciding once more by that.

    Raises:
        InputError: naming the file that is missing, or is not the one of the decision.
    """
    parts = load_parts(project)
    files = candidate_files(parts["candidate_model"])
    evidence = Evidence(*(parts[name] for name in BESIDE), files)
    return evidence.check(parts["decision"]), evidence


def place(project: Project, name: str) -> Path | str:
    """Return where a part of the decision is, or its name where the catalog has no such file."""
    try:
        return project.path(name)
    except InputError:
        return name
