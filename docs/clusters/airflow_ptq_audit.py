"""The audit, a task a pipeline. Written by scripts/airflow_dag.py of ptq-pipeline."""

from datetime import datetime

from airflow import DAG
from airflow.models import Variable
from airflow.operators.bash import BashOperator

# The folder of the Kedro project, which all workers see, and the environment that is audited.
PROJECT = Variable.get("ptq_project", "/opt/ptq_project")
ENVIRONMENT = Variable.get("ptq_env", "base")


def stage(name: str, **more: object) -> BashOperator:
    """One pipeline in a process of its own."""
    command = f"kedro run --env {ENVIRONMENT} --pipelines {name}"
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
    data_loading = stage("data_loading")
    calibration = stage("calibration")
    quantization = stage("quantization", retries=3)
    subgroup_scoring = stage("subgroup_scoring")
    worst_case_check = stage("worst_case_check")
    drift = stage("drift")
    promotion = stage("promotion")
    reporting = stage("reporting")

    # 0: may ship; 2: a check failed; 3: refused; 4: open. None of them is tried again.
    gate = BashOperator(
        task_id="gate",
        bash_command=f"kedro ptq gate --env {ENVIRONMENT}",
        cwd=PROJECT,
        retries=0,
    )

    data_loading >> calibration
    calibration >> quantization
    quantization >> subgroup_scoring
    subgroup_scoring >> worst_case_check
    worst_case_check >> drift
    worst_case_check >> promotion
    promotion >> reporting
    drift >> reporting
    reporting >> gate
