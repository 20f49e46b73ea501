import dataclasses
import importlib.util
import json
from pathlib import Path

import pytest
import yaml
from kedro.io import DataCatalog, MemoryDataset
from kedro.runner import SequentialRunner
from kedro_datasets.json import JSONDataset
from kedro_datasets.matplotlib import MatplotlibDataset
from kedro_datasets.text import TextDataset
from pydantic import ValidationError

from ptq_pipeline.calibration.parameters import CalibrationParameters
from ptq_pipeline.pipelines.reporting import create_pipeline
from ptq_pipeline.pipelines.reporting.pipeline import REPORT_INPUTS
from ptq_pipeline.reporting.detector_figures import DetectorFigures
from ptq_pipeline.reporting.results import ReportingParameters
from ptq_pipeline.stress.shifts import StressParameters
from ptq_pipeline.trials.recipe import Recipe

ROOT = Path(__file__).parents[3]
CONF = ROOT / "conf" / "base"
UTF8 = {"open_args_save": {"encoding": "utf-8"}}
FIGURES = ("worst_groups", "drop_distribution", "group_shift_heatmap", "strategy_comparison")
FILES = [(f"{name}_figure", "png") for name in FIGURES] + [
    (f"{name}_drawing", "svg") for name in FIGURES
]


def group(name):
    return yaml.safe_load((CONF / f"parameters_{name}.yml").read_text(encoding="utf-8"))[name]


@pytest.fixture(scope="module")
def inputs():
    path = ROOT / "tests" / "reporting" / "conftest.py"
    spec = importlib.util.spec_from_file_location("made_up_audit", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.complete(module.build_inputs(module.MadeUpAudit(draws=6, comparison_draws=2)))


def run(inputs, folder):
    results = [name for name in REPORT_INPUTS if REPORT_INPUTS[name] == name]
    nothing = DetectorFigures(trial_id=inputs.verdict.candidate.trial_id)
    inputs = dataclasses.replace(inputs, detector=nothing)
    catalog = DataCatalog(
        {
            **{name: MemoryDataset(getattr(inputs, name)) for name in results},
            "params:reporting": MemoryDataset(ReportingParameters(**group("reporting"))),
            "params:quantization": MemoryDataset(Recipe(**group("quantization"))),
            "params:calibration": MemoryDataset(CalibrationParameters(**group("calibration"))),
            "params:stress": MemoryDataset(StressParameters(group("stress"))),
            "report": TextDataset(filepath=(folder / "report.html").as_posix(), fs_args=UTF8),
            "junit": TextDataset(filepath=(folder / "junit.xml").as_posix(), fs_args=UTF8),
            "pull_request_summary": TextDataset(
                filepath=(folder / "pull_request.md").as_posix(), fs_args=UTF8
            ),
            "summary": JSONDataset(filepath=(folder / "summary.json").as_posix()),
            **{
                name: MatplotlibDataset(
                    filepath=(folder / f"{name}.{kind}").as_posix(), save_args={"format": kind}
                )
                for name, kind in FILES
            },
        }
    )
    pipeline = create_pipeline()
    near = ("gather_audit_data", "gather_lost_images", "explain_worst_group", "describe_detector")
    written = pipeline.only_nodes(*(node.name for node in pipeline.nodes if node.name not in near))
    SequentialRunner().run(written, catalog)
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_pipeline_writes_report_summary_and_figures_with_the_same_bytes_twice(inputs, tmp_path):
    first = run(inputs, tmp_path / "first")
    second = run(inputs, tmp_path / "second")
    assert len(first) == len(FILES) + 4
    assert first == second
    assert first["report.html"].startswith(b"<!DOCTYPE html>")
    lines = json.loads(first["summary.json"])["lines"]
    assert len(lines) == 3
    assert lines[2].endswith("/08_reporting/report.html")
    for name, content in first.items():
        assert str(tmp_path).encode() not in content, name


def test_shipped_parameters_are_valid_and_complete():
    assert set(group("reporting")) == set(ReportingParameters.model_fields)


@pytest.mark.parametrize(
    "change", [{"colour": "red"}, {"language": "xx"}, {"title": ""}, {"max_rows": 0}]
)
def test_wrong_parameters_are_refused(change):
    with pytest.raises(ValidationError, match=next(iter(change))):
        ReportingParameters(**(group("reporting") | change))
