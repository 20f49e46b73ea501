"""Data sets of the kinds that people bring go through a whole run: to a verdict and a report."""

import json

import pandas as pd
import pytest
import yaml
from tests.foreign import SETS, write
from tests.project import SmallProject


@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
def test_a_foreign_data_set_ends_in_a_verdict_and_a_report(project, tmp_path, name):
    small, made = SmallProject(project, tmp_path), SETS[name]()
    path = small.root / "conf/base/catalog.yml"
    catalog = yaml.safe_load(path.read_text())
    catalog |= write(made, small.root)
    path.write_text(yaml.safe_dump(catalog))
    # The shipped windows are pictures of clothes.
    small.change("drift", windows=[])
    settings = small.root / "conf/base/parameters_data_loading.yml"
    content = yaml.safe_load(settings.read_text())
    content["data_loading"]["segments"] = {}
    settings.write_text(yaml.safe_dump(content))
    code, output = small.run()
    assert code == 0, output
    assert "Traceback" not in output
    verdict = json.loads((small.root / "data/08_reporting/verdict.json").read_text())
    assert verdict["result"] in {"PASS", "FAIL", "INCONCLUSIVE"}
    report = (small.root / "data/08_reporting/report.html").read_text()
    assert "class 0000" in report
    samples = pd.read_parquet(small.root / "data/03_primary/samples.parquet")
    profiles = pd.read_parquet(small.root / "data/04_feature/profiles.parquet")
    assert len(samples) == len(made.rows)
    assert (profiles["predicted"] == profiles["label"]).mean() > 0.9
    if name == "clusters":
        sets = pd.read_parquet(small.root / "data/05_model_input/calibration_set_index.parquet")
        evidence = sets[sets["role"] == "evidence"]
        # Sites come by whole bursts, so pool and reference differ in them.
        assert evidence["valid"].mean() > 0.5
