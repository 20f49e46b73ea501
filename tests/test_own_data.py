"""Own images and own mistakes, through the command line."""

import pandas as pd
import pytest
import yaml
from PIL import Image
from tests.locked import assert_locked
from tests.project import SmallProject, read_idx

CLASSES = "top trouser pullover dress coat sandal shirt sneaker bag boot".split()


@pytest.fixture(scope="module")
def shop(project, tmp_path_factory):
    small = SmallProject(project, tmp_path_factory.mktemp("shop"))
    folder = small.root / "data/01_raw/shop"
    folder.mkdir()
    images = read_idx(project / "data/01_raw/fashion_mnist/heldout/images-idx3-ubyte.gz")[:800]
    labels = read_idx(project / "data/01_raw/fashion_mnist/heldout/labels-idx1-ubyte.gz")[:800]
    rows = []
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        Image.fromarray(image).save(folder / f"{number}.png")
        rows.append(
            {
                "path": f"{number}.png",
                "label": CLASSES[label],
                "cluster": f"photographer {number // 5}",
                "customer": ["north", "south"][number % 2],
            }
        )
    pd.DataFrame(rows).to_csv(folder / "images.csv", index=False)
    path = small.root / "conf/base/catalog.yml"
    catalog = yaml.safe_load(path.read_text())
    catalog["image_source"] = {
        "type": "ptq_pipeline.datasets.ImageManifestDataset",
        "filepath": "data/01_raw/shop/images.csv",
        "shape": [1, 28, 28],
        "splits": {"pool": 4, "reference": 2, "selection": 1, "audit": 3},
    }
    catalog["float_model"]["classes"] = CLASSES
    path.write_text(yaml.safe_dump(catalog))
    code, output = small.run("--pipelines", "data_loading")
    assert code == 0, output
    return small


def test_a_manifest_becomes_samples_with_its_segments(shop):
    samples = pd.read_parquet(shop.root / "data/03_primary/samples.parquet")
    assert len(samples) == 800
    assert set(samples["customer"]) == {"north", "south"}
    assert (samples.groupby("cluster")["split"].nunique() == 1).all()
    profiles = pd.read_parquet(shop.root / "data/04_feature/profiles.parquet")
    assert (profiles["predicted"] == profiles["label"]).mean() > 0.9


def refused(shop, *arguments):
    before = shop.reproducible_files()
    code, output = shop.run("--pipelines", "data_loading", *arguments)
    assert code == 1
    assert shop.reproducible_files() == before
    return " ".join(output.split())


def test_an_unknown_parameter_is_refused_before_anything_runs(shop):
    assert "sed" in refused(shop, "--params", "data_loading.sed=3")
    assert "unknown parameter group(s) dataloading" in refused(
        shop, "--params", "dataloading.seed=3"
    )


def test_a_corrupt_image_is_named(shop):
    path = shop.root / "data/01_raw/shop/17.png"
    content = path.read_bytes()
    path.write_bytes(content[:100])
    message = refused(shop)
    path.write_bytes(content)
    assert "17.png" in message
    assert "max_unreadable" in message


@pytest.mark.parametrize("name", ["part", "sample_id", "brightness"])
def test_a_column_for_groups_that_the_package_writes_itself_is_named(shop, name):
    path = shop.root / "data/01_raw/shop/images.csv"
    original = pd.read_csv(path)
    original.rename(columns={"customer": name}).to_csv(path, index=False)
    message = refused(shop)
    original.to_csv(path, index=False)
    assert f"the image source has a column '{name}'" in message


@pytest.mark.slow
def test_what_an_audit_with_clusters_says_is_locked(shop):
    # Its pictures have no segments of the shipped production windows.
    code, output = shop.run("--to-nodes", "decide")
    assert code == 0, output
    assert_locked(shop.root / "data", "clustered")
