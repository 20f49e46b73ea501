"""`kedro ptq ladder`: recipes in order until one passes."""

from ptq_pipeline.commands.running import Answer, project_command
from ptq_pipeline.monitoring.laddering import audit_recipes
from ptq_pipeline.project import Project


@project_command(
    "ladder",
    epilog="Exits with 0 when a recipe passes, 4 when one is inconclusive, 11 when none passes. "
    "Example: kedro ptq ladder",
)
def ladder(project: Project) -> Answer:
    """Audit the recipes of `ladder.recipes` in order until one passes.

    Each is a whole audit of its own. A recipe that is INCONCLUSIVE ends it: more images or draws
    would settle that, another recipe would not. When none passes, the registry records that
    retraining is needed, with the evidence, and what serves meanwhile; nothing moves.
    """
    report = audit_recipes(project)
    rungs = [
        f"{each['decision']:12s}  {each['name']}: {each['headline']}" for each in report["ladder"]
    ]
    lines = [
        *rungs,
        f"{report['action']}: {report['reason']}",
        f"champion: {report['champion'] or 'none yet'}",
    ]
    return Answer(report, lines, code=report["exit_code"])
