"""Kedro's runner with the hooks of a session, without a session."""

from dataclasses import dataclass

from kedro.framework.hooks.manager import _create_hook_manager
from kedro.runner import SequentialRunner


@dataclass
class Context:
    """What the hook reads of Kedro's context."""

    config_loader: dict


def run_hooked(hooks, pipeline, catalog, parameters, runner=None):
    """Run a pipeline as a session would, with these parameters in its context."""
    manager = _create_hook_manager()
    manager.register(hooks)
    manager.hook.after_context_created(context=Context({"parameters": parameters}))
    arguments = {"run_params": {}, "pipeline": pipeline, "catalog": catalog}
    manager.hook.before_pipeline_run(**arguments)
    try:
        (runner or SequentialRunner()).run(pipeline, catalog, manager)
    except Exception as error:
        manager.hook.on_pipeline_error(**arguments, error=error)
        raise
    manager.hook.after_pipeline_run(**arguments, run_result={})
