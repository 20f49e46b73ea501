import contextlib
import gzip
import os
import socket
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from kedro.io import DataCatalog, MemoryDataset
from PIL import Image

from ptq_pipeline.core.group_ids import GroupDefinitions
from ptq_pipeline.datasets import ProductionArrivalsDataset
from ptq_pipeline.images.audit_data import AuditData
from ptq_pipeline.images.idx import IdxSource
from ptq_pipeline.images.source import content_hashes
from ptq_pipeline.monitoring.audited import Audited
from ptq_pipeline.monitoring.parameters import AcceptanceRules
from ptq_pipeline.monitoring.windows import (
    Acceptance,
    Arrival,
    Status,
    Window,
    divide_windows,
    is_late,
    split_window,
)

CLASSES = ("boot", "bag", "shirt")
SHARES = {"pool": 0.4, "reference": 0.2, "selection": 0.1, "audit": 0.3}


def noise(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 8, 8), np.uint8)


def write_idx(path, array):
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(header + array.tobytes()))


def deliver(root, name, images, labels=None):
    write_idx(root / name / "images-idx3-ubyte.gz", images)
    if labels is not None:
        write_idx(root / name / "labels-idx1-ubyte.gz", np.asarray(labels, np.uint8))


@pytest.fixture
def arrivals(tmp_path):
    return ProductionArrivalsDataset(
        str(tmp_path / "production"), str(tmp_path / "checkpoint.json"), shape=[1, 8, 8]
    )


def defined(**segments):
    return GroupDefinitions.read({"classes": CLASSES, "segments": segments})


def decide(arrival, audited=(), earlier=(), definitions=None):
    samples, images = pd.DataFrame({"content_hash": list(audited)}), np.zeros((1, 1, 8, 8))
    model, definitions = SimpleNamespace(classes=CLASSES), definitions or defined()
    known = Audited(AuditData(samples, images, samples, definitions), model, None)
    return known.accept(arrival, dict(earlier), AcceptanceRules())


def test_a_window_is_new_until_it_is_confirmed_and_again_when_its_files_change(tmp_path, arrivals):
    root = tmp_path / "production"
    assert arrivals.load() == []
    deliver(root, "w1", noise(20))
    assert [each.name for each in arrivals.load()] == ["w1"]
    assert [each.name for each in arrivals.load()] == ["w1"]
    arrivals.confirm()
    assert arrivals.load() == []
    deliver(root, "w1", noise(21))
    assert [each.name for each in arrivals.load()] == ["w1"]


def test_a_window_behind_most_of_the_latest_is_late():
    months = [f"2027-{month:02d}" for month in range(1, 13)]
    assert is_late("2026-12", months)
    assert not is_late("2027-13", months)
    assert not is_late("2026-12", [])
    # A window named by a wrong clock is outvoted, and windows that come late stay late.
    assert not is_late("2028-01", [*months, "2199-01"])
    assert not is_late("2027-02", ["2199-01", "2027-01"])
    assert is_late("2026-05", [*months, "2026-03", "2026-04"])


def test_a_labelled_window_is_accepted(tmp_path, arrivals):
    deliver(tmp_path / "production", "w", noise(20), [0, 1] * 10)
    decided = decide(arrivals.load()[0])
    assert decided.status is Status.ACCEPTED
    assert decided.window.labelled
    assert decided.window.images.shape == (20, 1, 8, 8)


def test_labels_are_optional(tmp_path, arrivals):
    deliver(tmp_path / "production", "w", noise(20))
    assert not decide(arrivals.load()[0]).window.labelled


def test_labels_outside_the_classes_are_named(tmp_path, arrivals):
    deliver(tmp_path / "production", "w", noise(20), [7] * 20)
    decided = decide(arrivals.load()[0])
    assert decided.status is Status.REJECTED
    assert "label '7'" in decided.reason


def test_an_unknown_schema_is_rejected(tmp_path, arrivals):
    folder = tmp_path / "production/w"
    folder.mkdir(parents=True)
    pd.DataFrame({"file": ["a.png"], "label": [0]}).to_csv(folder / "manifest.csv")
    decided = decide(arrivals.load()[0])
    assert decided.status is Status.REJECTED
    assert "no column 'path'" in decided.reason


def test_an_empty_folder_is_reported_as_empty(tmp_path, arrivals):
    (tmp_path / "production/w").mkdir(parents=True)
    assert decide(arrivals.load()[0]).status is Status.EMPTY


def test_images_of_another_size_are_rejected(tmp_path, arrivals):
    deliver(tmp_path / "production", "w", np.zeros((5, 9, 9), np.uint8))
    assert "(1, 9, 9)" in decide(arrivals.load()[0]).reason


def test_unreadable_images_are_counted_and_named(tmp_path, arrivals):
    folder = tmp_path / "production/w/boot"
    folder.mkdir(parents=True)
    for number, image in enumerate(noise(10)):
        Image.fromarray(image).save(folder / f"{number}.png")
    path = folder / "3.png"
    path.write_bytes(path.read_bytes()[:40])
    decided = decide(arrivals.load()[0])
    assert decided.status is Status.REJECTED
    assert "3.png" in decided.reason


def test_a_missing_segment_column_is_named(tmp_path, arrivals):
    deliver(tmp_path / "production", "w", noise(20), [0] * 20)
    definitions = defined(shop={"names": ["north"]})
    assert "'shop'" in decide(arrivals.load()[0], definitions=definitions).reason


SHOP = defined(shop={"names": ["north", "south"]})
AGE = defined(age={"names": ["q1 (<= 30)", "q2 (> 30)"], "boundaries": [30]})


def deliver_manifest(root, name, images, **columns):
    folder = root / name
    folder.mkdir(parents=True)
    paths = [f"{number}.png" for number in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(folder / path)
    pd.DataFrame({"path": paths, **columns}).to_csv(folder / "manifest.csv", index=False)


def test_metadata_becomes_the_groups_of_the_audit(tmp_path, arrivals):
    root = tmp_path / "production"
    deliver_manifest(root, "ages", noise(4), label=[0, 1, 2, 0], age=[7, 30, 31, None])
    deliver_manifest(root, "unlabelled", noise(3, 1), age=[1, 2, 99])
    deliver_manifest(root, "words", noise(2, 2), label=[0, 1], age=["old", "young"])
    deliver_manifest(root, "elsewhere", noise(2, 3), label=[0, 1], shop=["north", "west"])
    found = {each.name: each for each in arrivals.load()}
    ages = decide(found["ages"], definitions=AGE).window.table["age"]
    assert ages.tolist() == ["q1 (<= 30)", "q1 (<= 30)", "q2 (> 30)", "missing"]
    unlabelled = decide(found["unlabelled"], definitions=AGE).window
    assert not unlabelled.labelled
    assert unlabelled.table["age"].tolist() == ["q1 (<= 30)", "q1 (<= 30)", "q2 (> 30)"]
    assert "other than numbers" in decide(found["words"], definitions=AGE).reason
    assert "'shop' holds 'west'" in decide(found["elsewhere"], definitions=SHOP).reason
    assert "no segment column 'shop'" in decide(found["unlabelled"], definitions=SHOP).reason


def test_labels_of_some_images_only_count_as_none(tmp_path, arrivals):
    deliver_manifest(tmp_path / "production", "w", noise(3), label=["boot", None, "bag"])
    decided = decide(arrivals.load()[0])
    assert not decided.window.labelled
    assert decided.reason == "2 of 3 labels are there, so it counts as unlabelled"


def test_what_is_missing_or_unreadable_is_named(tmp_path, arrivals):
    root = tmp_path / "production"
    deliver(root, "no images", noise(3), [0, 1, 2])
    (root / "no images/images-idx3-ubyte.gz").unlink()
    deliver(root, "too many labels", noise(3), [0, 1, 2, 0])
    deliver_manifest(root, "lost", noise(3), label=[0, 1, 2])
    (root / "lost/1.png").unlink()
    deliver(root, "forbidden", noise(3))
    path = root / "forbidden/images-idx3-ubyte.gz"
    path.unlink()
    path.symlink_to("/proc/self/mem")
    reasons = {each.name: decide(each).reason for each in arrivals.load()}
    assert "holds no window: neither images-idx3-ubyte.gz" in reasons["no images"]
    assert "(4,) labels for 3 images" in reasons["too many labels"]
    assert "1.png" in reasons["lost"]
    assert "monitoring.acceptance.max_unreadable" in reasons["lost"]
    assert "forbidden/images-idx3-ubyte.gz' is truncated or damaged" in reasons["forbidden"]
    assert all(reason.startswith("window '") for reason in reasons.values())


def test_what_is_no_regular_file_is_never_waited_for(tmp_path, arrivals):
    root = tmp_path / "production"
    for name in ("pipe", "socket", "only a pipe"):
        (root / name / "boot").mkdir(parents=True)
    for number, image in enumerate(noise(3)):
        Image.fromarray(image).save(root / f"pipe/boot/{number}.png")
    os.mkfifo(root / "pipe/boot/9.png")
    os.mkfifo(root / "only a pipe/images-idx3-ubyte.gz")
    # The path of a socket is short.
    with contextlib.chdir(root / "socket/boot"), socket.socket(socket.AF_UNIX) as bound:
        bound.bind("1.png")
    (root / "circle").symlink_to("circle")
    (root / "nowhere").symlink_to("gone")
    found = {each.name: decide(each) for each in arrivals.load()}
    assert set(found) == {"pipe", "socket", "only a pipe", "circle", "nowhere"}
    for name, decided in found.items():
        assert decided.status is Status.REJECTED, (name, decided)
        assert name in decided.reason
    assert "9.png' is a named pipe" in found["pipe"].reason


def test_whatever_files_raise_sets_their_window_aside(tmp_path, arrivals):
    root = tmp_path / "production"
    header = bytes([0, 0, 8, 3]) + np.array([2**31, 2**31, 4], ">u4").tobytes()
    deliver(root, "overflow", noise(3))
    (root / "overflow/images-idx3-ubyte.gz").write_bytes(gzip.compress(header))
    deliver_manifest(root, "circle", noise(3), label=[0, 1, 2])
    (root / "circle/1.png").unlink()
    (root / "circle/1.png").symlink_to("1.png")
    deliver_manifest(root, "categories", noise(3))
    (root / "categories/manifest.csv").unlink()
    labels = pd.Categorical(["boot", "cat", None])
    table = pd.DataFrame({"path": ["0.png", "1.png", "2.png"], "label": labels})
    table.to_parquet(root / "categories/manifest.parquet")
    deliver(root, "good", noise(20))
    found = {each.name: decide(each) for each in arrivals.load()}
    assert found.pop("good").status is Status.ACCEPTED
    categories = found.pop("categories")
    assert categories.status is Status.REJECTED or not categories.window.labelled
    for name, decided in found.items():
        assert decided.status is Status.REJECTED, (name, decided)

    def surprise():
        raise RecursionError("too deep")

    decided = decide(Arrival("odd", "", surprise))
    assert decided == Acceptance(
        Status.REJECTED,
        "window 'odd': its files cannot be read (RecursionError: too deep)",
    )


def test_files_whose_reading_ends_every_process_are_set_aside_and_the_others_read(
    tmp_path, arrivals, monkeypatch
):
    deliver(tmp_path / "production", "a crash", noise(20))
    deliver(tmp_path / "production", "good", noise(20, 1))
    statuses = []
    for _ in range(4):
        child = os.fork()
        if child == 0:
            monkeypatch.setattr(IdxSource, "read", lambda *_: os.kill(os.getpid(), 9))
            decide(arrivals.load()[0])
            os._exit(0)
        statuses.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    assert statuses == [-9, -9, -9, 0]
    crash, good = (decide(each) for each in arrivals.load())
    assert crash.status is Status.REJECTED
    assert "3 processes ended while they read it" in crash.reason
    assert good.status is Status.ACCEPTED
    deliver(tmp_path / "production", "a crash", noise(19))
    assert decide(arrivals.load()[0]).status is Status.ACCEPTED, "its files have changed"
    arrivals.confirm()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint.json", "production"]


def test_a_repeated_window_is_found_whatever_its_name_and_order(tmp_path, arrivals):
    deliver(tmp_path / "production", "a", noise(20))
    deliver(tmp_path / "production", "b", noise(20)[::-1])
    first, second = arrivals.load()
    content = decide(first).window.content
    decided = decide(second, earlier={content: "a"})
    assert decided.status is Status.REPEATED
    assert "'a'" in decided.reason


def test_copies_and_dead_images_are_left_out_or_reject_the_window(tmp_path, arrivals):
    images = noise(200)
    images[0] = images[1]
    images[2] = 7
    deliver(tmp_path / "production", "few", images)
    deliver(tmp_path / "production", "many", np.zeros((20, 8, 8), np.uint8))
    few, many = (decide(each) for each in arrivals.load())
    assert few.reason == "2 images left out"
    assert len(few.window.images) == 198
    assert many.status is Status.REJECTED
    assert "hold one value only" in many.reason


def test_images_of_the_audit_are_no_production(tmp_path, arrivals):
    images = noise(20)
    deliver(tmp_path / "production", "w", images)
    decided = decide(arrivals.load()[0], audited=content_hashes(images[:, None]))
    assert decided.status is Status.REJECTED
    assert "of the audit" in decided.reason


def window(name, count, seed, **columns):
    images = noise(count, seed)[:, None]
    table = pd.DataFrame({"content_hash": content_hashes(images), "label": 0, **columns})
    return Window(name, images, table, name)


def test_an_image_is_in_the_same_split_whatever_it_arrives_with():
    whole = window("a", 400, 0)
    half = Window("b", whole.images[200:], whole.table[200:].reset_index(drop=True), "b")
    splits = split_window(whole, SHARES, 1)
    assert splits[200:].tolist() == split_window(half, SHARES, 1).tolist()
    shares = splits.value_counts(normalize=True)
    assert shares["production_pool"] == pytest.approx(0.4, abs=0.08)
    assert set(shares.index) == {f"production_{name}" for name in SHARES}


def test_clusters_stay_together_and_judge_once():
    bursts = window("a", 300, 0, cluster=[f"c{number // 3}" for number in range(300)])
    table, images = divide_windows([bursts], [], SHARES, 1)
    assert (table.groupby("cluster")["split"].nunique() == 1).all()
    judged = table[table["split"].isin(["production_audit", "production_selection"])]
    assert not judged["cluster"].duplicated().any()
    assert content_hashes(images) == table["content_hash"].tolist()


def test_a_later_window_is_audited_as_a_whole():
    first, later = window("a", 200, 0), window("b", 100, 1)
    table, _ = divide_windows([first], [later], SHARES, 1)
    by_window = table.groupby("window")["split"].unique()
    assert by_window["b"].tolist() == ["production_audit"]
    assert "production_audit" not in by_window["a"]


def test_no_content_stands_in_two_splits():
    first = window("a", 200, 0)
    later = Window("b", first.images[:50], first.table[:50], "b")
    table, _ = divide_windows([first], [later], SHARES, 1)
    assert not table["content_hash"].duplicated().any()


def test_the_audit_is_handed_on_without_a_copy():
    images = np.zeros((2, 1, 4, 4), np.uint8)
    audited = Audited(AuditData(pd.DataFrame(), images), None, None)
    catalog = DataCatalog({"audited": MemoryDataset(audited)})
    assert catalog.load("audited").data.images is images
