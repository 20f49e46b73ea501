"""Write the audit as an Airflow DAG: a task a pipeline, each one a process of its own.

    python scripts/airflow_dag.py > dags/ptq_audit.py

What nodes hand on in memory stays within a task: every pipeline gathers its own. A task comes after
those whose stored results it reads, and tasks do not run side by side, because one run at a time
works in a project's folder.
"""

from pathlib import Path

from kedro.framework.project import pipelines
from kedro.framework.startup import bootstrap_project

STAGES = (
    *("data_loading", "calibration", "quantization", "subgroup_scoring"),
    *("worst_case_check", "drift", "promotion", "reporting"),
)
TEMPLATE = '''"""The audit, a task a pipeline. Written by scripts/airflow_dag.py of ptq-pipeline."""

from datetime import datetime

from airflow import DAG
from airflow.models import Variable
from airflow.operators.bash import BashOperator

# The folder of the Kedro project, which all workers see, and the environment that is audited.
PROJECT = Variable.get("ptq_project", "/opt/ptq_project")
ENVIRONMENT = Variable.get("ptq_env", "base")


def stage(name: str, **more: object) -> BashOperator:
    """One pipeline in a process of its own."""
    command = f"kedro run --env {{ENVIRONMENT}} --pipelines {{name}}"
    return BashOperator(task_id=name, bash_command=command, cwd=PROJECT, **more)


with DAG(
    dag_id="ptq_audit",
    start_date=datetime(2026, 1, 1),
    schedule=None,
    catchup=False,
    # One run at a time works in a project's folder.
    max_active_runs=1,
    max_active_tasks=1,
) as dag:
{tasks}

    # 0: may ship; 2: a check failed; 3: refused; 4: open. None of them is tried again.
    gate = BashOperator(
        task_id="gate",
        bash_command=f"kedro ptq gate --env {{ENVIRONMENT}}",
        cwd=PROJECT,
        retries=0,
    )

{edges}
    reporting >> gate
'''


def edges() -> list[tuple[str, str]]:
    """Return pairs of pipelines, the second of which reads what the first one stores.

    Pairs that follow from two others are left out.
    """
    makers: dict[str, str] = {}
    found: dict[tuple[str, str], None] = {}
    for name in STAGES:
        found |= dict.fromkeys(
            (makers[each], name) for each in sorted(pipelines[name].inputs()) if each in makers
        )
        makers |= dict.fromkeys(pipelines[name].all_outputs(), name)
    implied = {(a, c) for a, b in found for b_, c in found if b == b_}
    return [pair for pair in found if pair not in implied]


def dag() -> str:
    """Return the text of the DAG."""
    # A killed worker goes on with the trials that are stored.
    retried = {"quantization": ", retries=3"}
    tasks = [f'    {name} = stage("{name}"{retried.get(name, "")})' for name in STAGES]
    arrows = [f"    {first} >> {second}" for first, second in edges()]
    return TEMPLATE.format(tasks="\n".join(tasks), edges="\n".join(arrows))


if __name__ == "__main__":
    bootstrap_project(Path(__file__).resolve().parents[1])
    print(dag(), end="")
