"""``kedro ptq stages``: the staged protocol, from a quick look to the whole."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import click

from ptq_pipeline.commands.command import Answer, command, tell
from ptq_pipeline.commands.project_command import mount_option
from ptq_pipeline.core.canonical import canonical_hash
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.exits import ExitCode
from ptq_pipeline.judgement.policy import Policy
from ptq_pipeline.project import opened, project_path
from ptq_pipeline.trials.recipe import Recipe

CHAIN = "data_loading,calibration,settling"
CODES = {
    "PASS": ExitCode.DONE,
    "FAIL": ExitCode.REFUSED,
    "INCONCLUSIVE": ExitCode.INCONCLUSIVE,
}


@command(
    epilog="Exits with 0 when the last stage passes, 3 when one refuses, 4 when the last one "
    "settles nothing. Example: kedro ptq stages --stages quick,base",
)
@click.option(
    "--stages",
    "names",
    default="quick,base,full",
    show_default=True,
    help="Environments, with commas between.",
)
@mount_option
def stages(names: str, mount: str | None) -> Answer:
    """Settle the recipe stage by stage, and stop where it is refused.

    A stage is a configuration environment: `quick` looks at representative groups and few draws,
    `base` at all groups, `full` under every shift. Each one stops as soon as its verdict is
    settled. No candidate is judged: what passes here is audited by `kedro run`. Stages that may
    pass the same recipe share its level, which is planned before the first.
    """
    found = []
    for each in _settled([name.strip() for name in names.split(",")], mount):
        found.append(each)
        # At once: the next stage may take an hour.
        tell(f"{each['stage']}: {each['statement']}")
    return Answer(found, code=CODES[found[-1]["result"]])


def _settled(names: list[str], mount: str | None) -> Iterator[dict[str, Any]]:
    """Yield what each stage settles, up to the first that refuses."""
    root = project_path()
    for name in names:
        # Kedro takes an environment without a folder for one that changes nothing.
        if not (root / "conf" / name).is_dir():
            raise InputError(f"--stages: there is no environment '{name}', no folder conf/{name}")
    planned = planned_looks(names, mount)
    for name in names:
        with opened(name, mount) as project:
            project.run(CHAIN, {"worst_case_check": {"ledger": {"looks": planned[name]}}})
            verdict = root / project.path("settled_verdict")
        content = json.loads(verdict.read_text(encoding="utf-8"))
        yield {"stage": name, **content}
        if content["result"] == "FAIL":
            return


def planned_looks(names: Sequence[str], mount: str | None = None) -> dict[str, int]:
    """How many looks at its recipe each stage shares the level with, by stage.

    Stages that ask one recipe are looks at one question, and only a quick one cannot PASS. So the
    level is divided before the first of them, or else the second would have none.
    """
    looks, asked = {}, {}
    for name in names:
        with opened(name, mount) as project:
            policy = project.settings("worst_case_check", Policy)
            recipe = project.settings("quantization", Recipe)
        looks[name] = policy.ledger.looks
        if policy.representatives is None:
            asked[name] = canonical_hash([recipe.method.to_json(), recipe.runtime.name])
    shared = Counter(asked.values())
    return {name: max(n, shared[asked.get(name, "")]) for name, n in looks.items()}
