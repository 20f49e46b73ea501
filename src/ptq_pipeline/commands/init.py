"""``kedro ptq init``: write configuration and the shim of one mount into a project."""

from pathlib import Path

import click
from kedro.framework.project import settings

from ptq_pipeline.commands.command import Answer, command
from ptq_pipeline.core.files import write_file
from ptq_pipeline.pipelines.requantization import create_pipeline
from ptq_pipeline.project import bootstrapped
from ptq_pipeline.project_template import host_files, logging_configuration
from ptq_pipeline.registry.store import baseline_bytes

LOGGING = Path("conf/logging.yml")
# Kedro forgets its defaults, the first two, when a project says anything of its own.
MERGING = (
    '{"base_env": "base", "default_run_env": "local", "merge_strategy": {"parameters": "soft"}}'
)


@command(epilog="Example: kedro ptq init shop")
@click.argument("mount", default="ptq")
@click.option("--force", is_flag=True, help="Replace files that differ from what would be written.")
def init(mount: str, force: bool) -> Answer:
    """Mount the audit in this project under the name MOUNT ('ptq' by default).

    Files that exist are kept. The champion's baseline is state and is never replaced, nor is a
    logging.yml of the project's own.
    """
    root, metadata = bootstrapped()
    package = (metadata.source_dir / metadata.package_name).relative_to(root)
    state, logs = _baseline(mount), str(LOGGING)
    done = {}
    for path, content in mount_files(package, mount).items():
        # Neither is replaced: state, and the host's own logging, whatever it says.
        own = path in (state, LOGGING)
        done[str(path)] = _write(root / path, content, force and not own)
    if done[logs] == "kept":
        del done[logs]
    kept = [path for path, what in done.items() if what == "kept" and path != str(state)]
    lines = [f"{what:9s}  {path}" for path, what in done.items()]
    if kept:
        lines.append("What was kept differs from what would be written; --force replaces it.")
    # Whether an environment may set one value below the name of a mount.
    if settings.CONFIG_LOADER_ARGS.get("merge_strategy", {}).get("parameters") != "soft":
        lines.append(
            f"An environment that sets one value of '{mount}' would drop all others. Let them "
            f"merge, in {package}/settings.py:\n  CONFIG_LOADER_ARGS = {MERGING}"
        )
    lines.append(
        f"Next: say in conf/base/catalog_{mount}.yml which images and which model, then\n"
        f"  kedro ptq doctor --mount {mount}\n  kedro run --pipelines {mount}\n"
        f"  kedro ptq promote --mount {mount}\n  kedro ptq watch --once --mount {mount}"
    )
    return Answer(done, lines)


def mount_files(package: Path, mount: str) -> dict[Path, bytes]:
    """Return all that `init` writes, by path relative to the project."""
    requantized = [
        name for name in create_pipeline().datasets() if name.startswith("requantization.")
    ]
    texts = host_files(package, mount, requantized) | {LOGGING: logging_configuration()}
    files = {path: text.encode() for path, text in texts.items()}
    return {**files, _baseline(mount): baseline_bytes()}


def _baseline(mount: str) -> Path:
    return Path(f"data/{mount}/06_models/champion_baseline.json")


def _write(path: Path, content: bytes, force: bool) -> str:
    if path.is_file():
        if path.read_bytes() == content:
            return "unchanged"
        if not force:
            return "kept"
    what = "replaced" if path.is_file() else "written"
    write_file(path, content)
    return what
