"""``kedro ptq mlflow``: send what an audit and the registry have to an MLflow server."""

from ptq_pipeline.commands.command import Answer
from ptq_pipeline.commands.project_command import project_command
from ptq_pipeline.core.errors import InputError, PtqPipelineError
from ptq_pipeline.project import Project
from ptq_pipeline.registry.tracking import (
    TrackedAudit,
    connected,
    said_of,
)
from ptq_pipeline.registry.tracking_parameters import TrackingParameters


@project_command(
    epilog="What the server has is not sent twice. Example: kedro ptq mlflow --env passing"
)
def mlflow(project: Project) -> Answer:
    """Send the last audit and the registry to the server of `mlflow.tracking_uri`.

    Audits, promotions and rollbacks are sent by themselves; this is for those that came while the
    server was away.
    """
    settings = project.settings("mlflow", TrackingParameters)
    groups = project.parameters.get(project.name, {}) if project.name else project.parameters
    audit = TrackedAudit.of(project.root / project.path("verdict").parent, groups)
    try:
        with connected(settings) as tracker:
            run = tracker.log_audit(audit)
            done = tracker.follow(project.load("registry"))
    except PtqPipelineError:
        raise
    except Exception as error:
        raise InputError(
            f"MLflow at '{settings.without_password(str(settings.tracking_uri))}': "
            f"{said_of(error, settings)}; start the server, or correct mlflow.tracking_uri"
        ) from error
    lines = [f"run {run}: {audit.verdict.result}", *done]
    return Answer({"run": run, "registry": done}, lines)
