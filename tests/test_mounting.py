"""The audit as a component of another Kedro project, from the wheel that users install."""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile

import pandas as pd
import pytest
import yaml
from kedro.io import MemoryDataset
from tests.locked import assert_locked
from tests.project import built_viz, cut

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.mounting import DEFAULT, create_pipeline

CLASSES = (
    "T-shirt/top, Trouser, Pullover, Dress, Coat, Sandal, Shirt, Sneaker, Bag, Ankle boot"
).split(", ")
SETTINGS = "import os\n\nos.environ.setdefault('DO_NOT_TRACK', '1')\n"
REGISTRY = """from kedro.framework.project import find_pipelines


def register_pipelines():
    pipelines = find_pipelines(raise_errors=True)
    pipelines["__default__"] = sum(pipelines.values())
    return pipelines
"""


def documented(project, word):
    """Return the code block of the page on mounting that contains a word."""
    page = (project / "docs/mounting.md").read_text()
    (found,) = [b for b in re.findall(r"^```\w*\n(.*?)^```", page, re.S | re.M) if word in b]
    return found


def test_two_mounts_share_no_dataset():
    one, other = create_pipeline("shop"), create_pipeline("farm")
    assert not one.datasets() & other.datasets()
    assert {name.split(".")[0].removeprefix("params:") for name in one.datasets()} == {"shop"}


def test_inputs_and_outputs_of_the_host_keep_their_names():
    mounted = create_pipeline(
        "shop",
        inputs={"float_model": "my_model", "image_source": "my_images"},
        outputs={"decision": "my_decision"},
    )
    assert {"my_model", "my_images"} <= mounted.inputs()
    assert "my_decision" in mounted.all_outputs()
    assert "shop.candidate_model" in mounted.all_outputs()


def test_stages_can_be_chosen():
    assert create_pipeline(stages=["worst_case_check"]).inputs() >= {"scores", "samples"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"inputs": {"modle": "x"}}, "no input 'modle'; they have .*float_model"),
        ({"outputs": {"verdicts": "x"}}, "no output 'verdicts'"),
        ({"stages": ["scoring"]}, "no stage 'scoring'; the audit's are data_loading"),
        ({"stages": ["..data"]}, "no name of a stage"),
    ],
)
def test_wrong_names_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        create_pipeline("shop", **arguments)


def test_no_dataset_in_memory_crosses_a_pipeline(project):
    from kedro.config import OmegaConfigLoader
    from kedro.io import DataCatalog

    loader = OmegaConfigLoader(str(project / "conf"), base_env="base", default_run_env="base")
    catalog = DataCatalog.from_config(loader["catalog"])
    stages = {name: create_pipeline(stages=[name]) for name in DEFAULT}
    for name, stage in stages.items():
        others = set().union(*(s.inputs() for n, s in stages.items() if n != name))
        for dataset in stage.all_outputs() & others:
            assert dataset in catalog, dataset
            assert not isinstance(catalog[dataset], MemoryDataset), dataset


@pytest.fixture(scope="module")
def host(wheel, tmp_path_factory):
    """A project like `kedro new` makes, in which the wheel is installed."""
    root = tmp_path_factory.mktemp("host")
    package = root / "src/host"
    (package / "pipelines").mkdir(parents=True)
    for name, text in (
        ("__init__.py", ""),
        ("settings.py", SETTINGS),
        ("pipeline_registry.py", REGISTRY),
        ("pipelines/__init__.py", ""),
    ):
        (package / name).write_text(text)
    (root / "conf/base").mkdir(parents=True)
    (root / "conf/local").mkdir()
    shutil.copy(wheel.parent / "source/conf/logging.yml", root / "conf/logging.yml")
    (root / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
        '[project]\nname = "host"\nversion = "1"\n'
        '[tool.setuptools.packages.find]\nwhere = ["src"]\n'
        '[tool.kedro]\npackage_name = "host"\nproject_name = "host"\n'
        'kedro_init_version = "1.7.0"\nsource_dir = "src"\n'
    )
    (root / ".telemetry").write_text("consent: false\n")

    def kedro(*arguments, check=True):
        environment = os.environ | {"PYTHONPATH": str(wheel)}
        result = subprocess.run(
            [sys.executable, "-m", "kedro", *arguments],
            cwd=root, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert not check or result.returncode == 0, result.stdout + result.stderr
        return result

    return root, kedro


@pytest.fixture(scope="module")
def shop(host):
    """What `kedro ptq init shop` says the first time."""
    return host[1]("ptq", "init", "shop").stdout


def test_init_is_idempotent_and_keeps_what_was_changed(host, shop):
    root, kedro = host
    assert "written" in shop
    kedro("ptq", "init", "farm")
    again = json.loads(kedro("ptq", "init", "shop", "--json").stdout)
    assert set(again.values()) == {"unchanged"}
    path = root / "conf/base/parameters_farm.yml"
    original = path.read_text()
    path.write_text("# mine\n" + original)
    assert json.loads(kedro("ptq", "init", "farm", "--json").stdout)[
        "conf/base/parameters_farm.yml"
    ] == ("kept")
    assert path.read_text().startswith("# mine")
    kedro("ptq", "init", "farm", "--force")
    assert path.read_text() == original
    assert kedro("ptq", "init", "no-name", check=False).returncode == 1


def test_kedro_finds_both_mounts(host, shop):
    _, kedro = host
    listed = kedro("registry", "list").stdout
    assert "shop" in listed and "farm" in listed


def test_a_wrong_setting_of_a_mount_ends_in_one_sentence(host, shop):
    _, kedro = host
    wrong = "shop.calibration.drws=3"
    result = kedro("run", "--pipelines", "shop", "--params", wrong, check=False)
    assert result.returncode == 1
    assert "Error: shop.calibration.drws: is no setting; did you mean 'draws'?" in result.stderr
    assert "Traceback" not in result.stderr


def test_init_says_how_environments_merge_until_they_do(host, shop, project):
    root, kedro = host
    assert "CONFIG_LOADER_ARGS = {" in shop
    settings = root / "src/host/settings.py"
    settings.write_text(SETTINGS + documented(project, "CONFIG_LOADER_ARGS"))
    assert "CONFIG_LOADER_ARGS" not in kedro("ptq", "init", "shop").stdout


SMALL = {"average": {"points": 6}, "class": {"points": 25}, "segment": {"points": 12}}


def configure(project, root, mount, rows, exposure=1.0):
    """Say which images and which model, and make it small and easy to pass."""
    raw, data = project / "data/01_raw/fashion_mnist", root / f"data/{mount}"
    cut(raw / "test", data / "01_raw/test", rows, exposure)
    cut(raw / "heldout", data / "01_raw/heldout", slice(1600), exposure)
    (data / "06_models").mkdir(parents=True, exist_ok=True)
    shutil.copy(project / "data/06_models/reference/resnet20.safetensors", data / "06_models")
    parts = [
        {
            "images": f"data/{mount}/01_raw/{part}/images-idx3-ubyte.gz",
            "labels": f"data/{mount}/01_raw/{part}/labels-idx1-ubyte.gz",
            "splits": splits,
        }
        for part, splits in (
            ("test", {"selection": 1, "audit": 3}),
            ("heldout", {"pool": 3, "reference": 2}),
        )
    ]
    path = root / f"conf/base/catalog_{mount}.yml"
    catalog = yaml.safe_load(path.read_text())
    catalog[f"{mount}.image_source"] = {
        "type": "ptq_pipeline.datasets.IdxImageDataset",
        "parts": parts,
    }
    catalog[f"{mount}.float_model"] = {
        "type": "ptq_pipeline.datasets.FloatModelDataset",
        "factory": "ptq_pipeline.models.resnet20",
        "weights": f"data/{mount}/06_models/resnet20.safetensors",
        "preprocessing": {"mean": [0.286], "std": [0.353]},
        "classes": CLASSES,
    }
    path.write_text(yaml.safe_dump(catalog))
    path = root / f"conf/base/parameters_{mount}.yml"
    content = yaml.safe_load(path.read_text())
    parameters = content[mount]
    parameters["calibration"].update(
        set_size=64, draws=5, comparison_strategies=[], data_docs=False
    )
    parameters["calibration"]["validation"]["simulated_draws"] = 1500
    parameters["quantization"].update(
        parity_draws=0, method={"weight_bits": 8, "activation_bits": 8}
    )
    parameters["stress"] = {"clean": {}}
    parameters["worst_case_check"].update(
        p0=0.5, draws=5, limits={**SMALL, "intersection": {"points": 50, "min_size": 100_000}},
        # Brighter production pictures have more detail: hardly one of these is left.
        allow_not_judged=[
            {"level": "segment", "group": f"detail={value}"} for value in ("smooth", "medium")
        ],
    )  # fmt: skip
    parameters["drift"]["resamples"] = 200
    parameters["monitoring"]["trigger"].update(windows=1, drifted=1, cooldown_hours=0)
    parameters["ladder"]["recipes"] = [{"name": "as it is"}]
    path.write_text(yaml.safe_dump(content))


@pytest.fixture(scope="module")
def mounted(host, project):
    """Two mounts with their images; the shop's were taken in dim light."""
    root, kedro = host
    for mount in ("shop", "farm"):
        kedro("ptq", "init", mount, "--force")
    configure(project, root, "shop", slice(900), exposure=0.5)
    configure(project, root, "farm", slice(900, 1800))
    return root, kedro


@pytest.mark.slow
def test_an_environment_of_the_host_changes_a_value_and_writes_elsewhere(mounted, project):
    root, kedro = mounted
    night = root / "conf/night"
    night.mkdir()
    (night / "parameters_shop.yml").write_text(documented(project, "environment: night"))
    (root / "src/host/settings.py").write_text(SETTINGS)
    refused = kedro("run", "--env", "night", "--pipelines", "shop", check=False)
    assert refused.returncode == 1 and "Field required" in refused.stderr
    (root / "src/host/settings.py").write_text(SETTINGS + documented(project, "CONFIG_LOADER_ARGS"))
    copy, run, _ = documented(project, "--env night").splitlines()
    subprocess.run(copy, shell=True, check=True, cwd=root)
    before = {path for path in (root / "data").rglob("*") if path.is_file()}
    kedro(*run.split()[1:], "--to-outputs", "shop.samples")
    samples = pd.read_parquet(root / "data/night/shop/03_primary/samples.parquet")
    assert set(samples["tone"]) == {"black", "grey", "white"}
    assert len(set(samples["detail"])) == 3, "what the environment does not name stays"
    after = {path for path in (root / "data").rglob("*") if path.is_file()}
    assert {path.relative_to(root / "data").parts[0] for path in after - before} == {"night"}
    gate = kedro("ptq", "gate", "--env", "night", "--mount", "shop", check=False)
    assert "'shop.decision' does not exist yet" in gate.stderr, "that of base is another's"


@pytest.mark.slow
def test_the_doctor_finds_that_a_mount_can_be_audited(mounted):
    _, kedro = mounted
    examined = json.loads(kedro("ptq", "doctor", "--mount", "shop", "--json").stdout)
    assert "fail" not in {finding["status"] for finding in examined}
    assert {"float_model", "image_source"} <= {finding["topic"] for finding in examined}


@pytest.mark.slow
def test_kedro_packages_the_host_with_its_mounts(mounted):
    root, kedro = mounted
    kedro("package")
    (wheel,) = (root / "dist").glob("host-*.whl")
    with zipfile.ZipFile(wheel) as content:
        assert {f"host/pipelines/{name}/__init__.py" for name in ("shop", "farm")} <= set(
            content.namelist()
        )
    with tarfile.open(root / "dist/conf-host.tar.gz") as content:
        assert {"conf/base/catalog_ptq.yml", "conf/base/parameters_shop.yml"} <= set(
            content.getnames()
        )


def contents(root, mount):
    return {p: p.read_bytes() for p in (root / f"data/{mount}").rglob("*.json")}


@pytest.mark.slow
def test_two_mounts_run_side_by_side_and_do_not_touch_each_other(mounted):
    root, kedro = mounted
    kedro("run", "--pipelines", "shop")
    decision = json.loads((root / "data/shop/08_reporting/decision.json").read_text())
    assert decision["decision"] == "promote"
    assert_locked(root / "data/shop", "mount")
    assert (root / "data/shop/08_reporting/report.html").is_file()
    outputs = [p for p in (root / "data/farm").rglob("*") if p.is_file()]
    assert {p.parent.name for p in outputs} <= {"test", "heldout", "06_models"}
    before = contents(root, "shop")
    kedro("run", "--pipelines", "farm")
    assert (root / "data/farm/08_reporting/report.html").is_file()
    assert before == contents(root, "shop")
    assert not (root / "data/08_reporting").exists()
    assert kedro("ptq", "gate", "--mount", "shop", check=False).returncode == 0
    status = json.loads(kedro("ptq", "status", "--mount", "farm", "--json").stdout)
    assert status["champion"] is None


@pytest.mark.slow
def test_a_mount_is_watched_and_requantized(mounted, project):
    """Bright lamps in the shop: the watch audits, requantizes and promotes, in this mount only."""
    root, kedro = mounted
    if not (root / "data/shop/08_reporting/decision.json").is_file():
        kedro("run", "--pipelines", "shop")
    kedro("ptq", "promote", "--mount", "shop", "--by", "Jo")
    farm = contents(root, "farm")
    heldout = project / "data/01_raw/fashion_mnist/heldout"
    cut(heldout, root / "data/shop/01_raw/production/2027-01-01", slice(1600, 3400))
    dry = kedro("ptq", "watch", "--once", "--dry-run", "--mount", "shop", "--json", check=False)
    assert dry.returncode == 10, dry.stderr
    assert json.loads(dry.stdout)["action"] == "reaudit"
    report = json.loads(kedro("ptq", "watch", "--once", "--mount", "shop", "--json").stdout)
    assert (report["action"], report["champion"]) == ("promoted", "v0002")
    event = root / "data/shop/05_model_input/requantization" / report["event"]
    assert len(list((event / "calibration_sets").glob("*.json"))) >= 5
    assert {path.name for path in (root / "data").iterdir()} <= {"shop", "farm", "night"}
    assert farm == contents(root, "farm")
    verified = json.loads(kedro("ptq", "verify", "--mount", "shop", "--json").stdout)
    assert verified["versions"] == ["v0001", "v0002"]


@pytest.mark.slow
def test_kedro_viz_shows_both_mounts(mounted, wheel):
    root, kedro = mounted
    if not (root / "data/shop/08_reporting/decision.json").is_file():
        kedro("run", "--pipelines", "shop")
    named, previews = built_viz(root, str(wheel))
    assert {"shop", "farm", "__default__"} <= named
    assert previews["shop.worst_groups_figure"]
    assert {"shop.decision", "farm.decision"} <= set(previews)
