import json
import logging
import os
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
from tests.registry.conftest import against, candidate, release, terms

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.hooks import ParameterGroupHooks
from ptq_pipeline.registry.release import rollback
from ptq_pipeline.registry.tracking import (
    CHAMPION,
    DECISION_TAG,
    LONGEST_VALUE,
    VERSION_TAG,
    TrackedAudit,
    connected,
    said_of,
    send,
)
from ptq_pipeline.registry.tracking_parameters import TrackingParameters

PARAMETERS = {
    "quantization": {"method": {"weight_bits": 8, "name": "nearest"}, "runtime": {}},
    "worst_case_check": {"critical": [{"group": "Sandal"}], "limits": {"class": {"ポイント": 4.0}}},
    "mlflow": {"tracking_uri": "http://kim:secret@host"},
}


@pytest.fixture
def reports(tmp_path):
    decision, files = candidate("a")
    folder = tmp_path / "reports"
    (folder / "figures").mkdir(parents=True)
    (folder / "figures/worst.svg").write_text("<svg/>")
    (folder / "decision.json").write_text(json.dumps(decision.to_json()))
    (folder / "verdict.json").write_bytes(files["verdict.json"])
    (folder / "metrics.json").write_text('{"worst_drop": 2.5, "draws": 50, "open": null}')
    (folder / "report.html").write_text("page")
    return folder


def test_an_audit_is_read_from_its_reports(reports):
    audit = TrackedAudit.of(reports, PARAMETERS)
    assert audit.metrics == {"worst_drop": 2.5, "draws": 50.0}
    assert audit.parameters["quantization.method.weight_bits"] == "8"
    assert audit.parameters["quantization.method.name"] == "nearest"
    assert audit.parameters["worst_case_check.critical"] == '[{"group": "Sandal"}]'
    assert not any("mlflow" in key or "secret" in key for key in audit.parameters)
    names = [(folder, path.name) for folder, path in audit.files]
    assert ("", "report.html") in names and ("figures", "worst.svg") in names


def test_long_values_are_cut_to_what_a_server_takes(reports):
    audit = TrackedAudit.of(reports, {"stress": {"a": "x" * 2 * LONGEST_VALUE}})
    assert len(audit.parameters["stress.a"]) == LONGEST_VALUE


def test_reports_that_are_missing_are_named(tmp_path):
    with pytest.raises(InputError, match="holds no finished audit"):
        TrackedAudit.of(tmp_path, {})


def test_nothing_is_sent_unless_somebody_says_where():
    send(TrackingParameters(), "this audit", lambda to: pytest.fail("sent"))
    with pytest.raises(InputError, match=r"no MLflow server is configured; set mlflow.tracking_"):
        connected(TrackingParameters()).__enter__()


def test_a_package_that_is_missing_is_a_warning_that_names_it(monkeypatch, caplog):
    monkeypatch.setattr("ptq_pipeline.registry.tracking_parameters.find_spec", lambda name: None)
    settings = TrackingParameters(tracking_uri="http://127.0.0.1:9")
    with caplog.at_level(logging.WARNING):
        send(settings, "this audit", lambda to: None)
    assert "package 'mlflow' is not installed; pip install 'ptq-pipeline[mlflow]'" in caplog.text
    assert "nothing is lost, and `kedro ptq mlflow` sends it again" in caplog.text


def test_no_password_is_said():
    settings = TrackingParameters(tracking_uri="http://kim:secret@127.0.0.1:9")
    said = said_of(OSError("no answer from http://kim:secret@127.0.0.1:9/api"), settings)
    assert said == "OSError: no answer from http://127.0.0.1:9/api"


def test_a_setting_that_does_not_exist_ends_a_run_before_its_first_node():
    class Context:
        config_loader = {"parameters": {"mlflow": {"url": "http://127.0.0.1"}}}  # noqa: RUF012

    with pytest.raises(InputError, match=r"mlflow.url: is no setting"):
        ParameterGroupHooks().after_context_created(Context())


@pytest.mark.slow
def test_a_server_that_is_away_holds_up_nothing(reports, caplog):
    pytest.importorskip("mlflow")
    with socket.socket() as nobody:
        # It takes connections and never answers.
        nobody.bind(("127.0.0.1", 0))
        nobody.listen()
        address = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        settings = TrackingParameters(tracking_uri=address, timeout_seconds=1)
        audit = TrackedAudit.of(reports, PARAMETERS)
        # Importing the client takes seconds.
        send(settings, "nothing", lambda to: None)
        started = time.monotonic()
        send(settings, "this audit", lambda to: to.log_audit(audit))
        assert time.monotonic() - started < 20
    assert "MLFLOW_HTTP_REQUEST_TIMEOUT" not in os.environ
    assert "this audit was not sent" in caplog.text


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A real server on a SQLite store, as the tests' own environment can start one."""
    for package in ("mlflow", "flask", "sqlalchemy", "alembic"):
        pytest.importorskip(package)
    folder = tmp_path_factory.mktemp("mlflow")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--workers", "1"),
        *("--host", "127.0.0.1", "--port", str(port)),
        *("--backend-store-uri", f"sqlite:///{folder}/m.db"),
        *("--artifacts-destination", str(folder / "artifacts")),
    ]
    quiet = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "1"}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=quiet, stdout=log, stderr=log, start_new_session=True
        )
    try:
        _wait(f"http://127.0.0.1:{port}/health", process, folder / "log")
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, 15)
        process.wait(60)


def _wait(address, process, log):
    for _ in range(300):
        assert process.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(address, timeout=60).close()
            return
        except OSError:
            time.sleep(1)
    raise AssertionError(log.read_text())


@pytest.fixture
def tracker(server):
    settings = TrackingParameters(
        tracking_uri=server, registered_model="fruit", timeout_seconds=120
    )
    with connected(settings) as found:
        yield found


@pytest.mark.slow
def test_audits_become_runs_and_the_registry_is_followed(tracker, reports, registry):
    audit, client = TrackedAudit.of(reports, PARAMETERS), tracker._client
    run = tracker.log_audit(audit)
    assert tracker.log_audit(audit) == run
    stored = client.get_run(run)
    assert stored.info.status == "FINISHED"
    assert stored.data.metrics == {"worst_drop": 2.5, "draws": 50.0}
    assert stored.data.params == audit.parameters
    assert stored.data.tags["ptq.verdict"] == "PASS"
    assert stored.data.tags[DECISION_TAG] == audit.decision.hash
    assert {"report.html", "verdict.json", "decision.json", "figures"} <= {
        each.path for each in client.list_artifacts(run)
    }

    assert tracker.follow(registry) == []
    first = candidate("a")
    release(registry, *first, terms())
    release(registry, *candidate("b", champion=against(first[0])), terms())
    assert tracker.follow(registry) == [
        "version v0001 is version 1 of 'fruit' in MLflow",
        "version v0002 is version 2 of 'fruit' in MLflow",
        "alias 'champion' of 'fruit' in MLflow: v0002",
    ]
    assert tracker.follow(registry) == []
    served = client.get_model_version_by_alias("fruit", CHAMPION)
    assert served.tags[VERSION_TAG] == "v0002"
    assert client.get_model_version("fruit", "1").run_id == run
    files = {each.path.rpartition("/")[2] for each in client.list_artifacts(run, "versions/v0001")}
    assert {"model.bin", "verdict.json", "record.json"} <= files

    rollback(registry, "v0001", by="Kim", reason="complaints")
    assert tracker.follow(registry) == ["alias 'champion' of 'fruit' in MLflow: v0001"]
    assert client.get_model_version_by_alias("fruit", CHAMPION).version == "1"


@pytest.mark.slow
def test_a_run_that_was_interrupted_is_failed_and_made_once_more(tracker, reports, monkeypatch):
    decision, files = candidate("other")
    (reports / "decision.json").write_text(json.dumps(decision.to_json()))
    (reports / "verdict.json").write_bytes(files["verdict.json"])
    audit, client = TrackedAudit.of(reports, PARAMETERS), tracker._client

    def full(*arguments):
        raise OSError("disk full")

    def statuses():
        found = client.search_runs([client.get_experiment_by_name("ptq").experiment_id])
        named = [each for each in found if decision.hash[:8] in each.info.run_name]
        return sorted(each.info.status for each in named)

    with monkeypatch.context() as broken:
        broken.setattr(client, "log_artifact", full)
        with pytest.raises(OSError, match="disk full"):
            tracker.log_audit(audit)
    assert statuses() == ["FAILED"]
    made = tracker.log_audit(audit)
    assert tracker.log_audit(audit) == made
    assert statuses() == ["FAILED", "FINISHED"]
