"""The files for Airflow, Kubernetes and Slurm are what these take, and what the pipelines are."""

import ast
import runpy
from importlib.metadata import distribution
from pathlib import Path

import jsonschema
import pytest
import yaml
from distributed.security import Security
from kedro.framework.project import pipelines

ROOT = Path(__file__).parents[1]
CLUSTERS = ROOT / "docs/clusters"
CRDS = "dask_kubernetes/operator/deployment/helm/dask-kubernetes-operator/crds"


def test_each_task_runs_a_pipeline_after_those_whose_results_it_reads():
    script = runpy.run_path(str(ROOT / "scripts/airflow_dag.py"))
    script["bootstrap_project"](ROOT)
    tree = ast.parse(script["dag"]())
    compile(tree, "ptq_audit.py", "exec")
    tasks = [
        node.targets[0].id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and getattr(node.value, "func", None)
        if getattr(node.value.func, "id", "") == "stage"
    ]
    after = {name: set() for name in (*tasks, "gate")}
    for node in ast.walk(tree):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.RShift):
            after[node.right.id] |= {node.left.id}
    for _ in after:
        for name, before in after.items():
            after[name] = before.union(*(after[each] for each in before))
    everything = set(pipelines["__default__"].nodes)
    assert set().union(*(pipelines[name].nodes for name in tasks)) == everything
    stored = {name: pipelines[name].all_outputs() for name in tasks}
    for name in tasks:
        for other in set(tasks) - {name}:
            if pipelines[name].inputs() & stored[other]:
                assert other in after[name], f"{name} reads what {other} stores"
    assert after["gate"] == set(tasks)


def test_the_manifest_is_what_the_operator_takes():
    found = distribution("dask-kubernetes")
    crd = yaml.safe_load(Path(found.locate_file(f"{CRDS}/daskcluster.yaml")).read_text("utf-8"))
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    manifest = yaml.safe_load((CLUSTERS / "kubernetes.yaml").read_text("utf-8"))
    jsonschema.validate(manifest, strict(schema))
    manifest["spec"]["worker"]["spec"]["containers"][0]["imagee"] = "a typing error"
    with pytest.raises(jsonschema.ValidationError, match="imagee"):
        jsonschema.validate(manifest, strict(schema))


def strict(schema):
    """The same where an unknown key is an error, as for `kubectl apply --validate=strict`."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {name: strict(value) for name, value in schema.items()}
    known = isinstance(schema.get("properties"), dict) and schema.get("type") == "object"
    # The root's own keys (apiVersion, kind, metadata) are not in this schema.
    if known and "spec" not in schema["properties"] and "additionalProperties" not in schema:
        inner["additionalProperties"] = False
    return inner


def test_slurm_starts_workers_of_one_thread(tmp_path, monkeypatch):
    # The credentials made for this test are written there.
    monkeypatch.chdir(tmp_path)
    script = runpy.run_path(str(CLUSTERS / "slurm.py"))
    with script["workers"](Security.temporary()) as cluster:
        assert cluster.scheduler_address.startswith("tls://")
        job = cluster.job_script()
    for said in ("--constraint=avx512vnni", "PTQ_PIPELINE_CACHE=", "--nthreads 1", "--tls-ca-file"):
        assert said in job
