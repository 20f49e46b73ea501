"""Entry point of ``python -m ptq_pipeline``."""

from collections.abc import Sequence
from pathlib import Path

from ptq_pipeline.core.exits import ending_at_once

with ending_at_once():
    from kedro.framework.cli.utils import find_run_command
    from kedro.framework.project import configure_project


def main(arguments: Sequence[str] | None = None) -> object:
    """Run a pipeline, with the options of ``kedro run``."""
    package = Path(__file__).parent.name
    with ending_at_once():
        configure_project(package)
        run = find_run_command(package)
    return run(arguments, standalone_mode=True)


if __name__ == "__main__":
    main()
