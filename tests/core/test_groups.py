import time

import numpy as np
import pandas as pd
import pytest

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.grouping import build_groups, sample_clusters
from ptq_pipeline.core.groups import sizes_of_clusters

CLASSES = ("boot", "bag")
SEGMENTS = {"tone": ("dark", "light")}


@pytest.fixture
def samples():
    return pd.DataFrame(
        {
            "sample_id": [7, 3, 5, 1, 9, 11, 13, 15, 17],
            "split": ["audit"] * 6 + ["selection"] * 2 + ["pool"],
            "label": [0, 0, 0, 1, 1, 1, 0, 0, 1],
            "tone": ["dark", "dark", "light", "light", "light", "missing", "dark", "dark", "x"],
        }
    )


def test_counts_by_level_and_empty_groups_are_missing(samples):
    counts = build_groups(samples, CLASSES, SEGMENTS).counts("audit")
    found = {(level, group): n for level, group, n in counts.itertuples(index=False)}
    assert found == {
        ("average", "all"): 6,
        ("class", "boot"): 3,
        ("class", "bag"): 3,
        ("segment", "tone=dark"): 2,
        ("segment", "tone=light"): 3,
        ("intersection", "boot & tone=dark"): 2,
        ("intersection", "boot & tone=light"): 1,
        ("intersection", "bag & tone=light"): 2,
    }


def test_small_intersections_are_left_out_by_audit_count(samples):
    groups = build_groups(samples, CLASSES, SEGMENTS, intersection_min_size=2)
    large, small = ["boot & tone=dark", "bag & tone=light"], "boot & tone=light"
    assert [each for p in groups.partitions[3:] for each in p.groups] == large
    # A policy may name the others all the same.
    assert groups.by_level()["intersection"] == [*large, small]
    assert ("intersection", small) not in groups.sizes()
    assert groups.every_size()["intersection", small] == 1
    assert groups.counts("selection")["n"].tolist() == [2, 2, 2, 2]


def test_intersections_can_be_turned_off(samples):
    assert (
        "intersection"
        not in build_groups(samples, CLASSES, SEGMENTS, intersection_depth=1).by_level()
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": [0, 0, 0, 1, 1, 2, 0, 0, 1]}, "label 2 is outside the model's 2 classes"),
        ({"tone": ["dark"] * 5 + ["grey"] + ["dark"] * 3}, "'tone' holds 'grey'"),
    ],
)
def test_bad_samples_are_named(samples, change, message):
    with pytest.raises(InputError, match=message):
        build_groups(samples.assign(**change), CLASSES, SEGMENTS)


def test_missing_segment_column_is_named(samples):
    with pytest.raises(InputError, match="column 'tone' is missing"):
        build_groups(samples.drop(columns="tone"), CLASSES, SEGMENTS)


def test_clusters_are_found_where_they_repeat(samples):
    groups = build_groups(samples, CLASSES, SEGMENTS)
    assert groups.cluster_sizes == {}
    users = samples.assign(cluster=["a", "b", "c", "d", "d", "e", "f", "f", "g"])
    # Samples 1 and 9: bags in light tones. Sample 13 and 15 are no audit samples.
    assert set(build_groups(users, CLASSES, SEGMENTS).cluster_sizes) == {
        ("average", "all"),
        ("class", "bag"),
        ("segment", "tone=light"),
        ("intersection", "bag & tone=light"),
    }


def test_equal_pixels_count_once_in_every_group(samples):
    plain = build_groups(samples, CLASSES, SEGMENTS)
    hashes = [f"{i}" for i in samples["sample_id"]]
    twenty = pd.concat(
        [samples.assign(content_hash=hashes, sample_id=samples["sample_id"] + 100 * i)
         for i in range(20)]
    )  # fmt: skip
    groups = build_groups(twenty, CLASSES, SEGMENTS)
    assert groups.counts("audit").equals(plain.counts("audit"))
    assert groups.copies("audit") == 19 * 6
    assert groups.cluster_sizes == {}
    assert (
        build_groups(twenty, CLASSES, SEGMENTS, intersection_min_size=3)
        .counts()
        .equals(build_groups(samples, CLASSES, SEGMENTS, intersection_min_size=3).counts())
    )


def test_copies_that_differ_in_a_segment_count_once_in_their_class_and_once_in_each_segment():
    table = pd.DataFrame(
        {
            "sample_id": [0, 1, 2, 3],
            "split": "audit",
            "label": [0, 0, 1, 1],
            "tone": ["dark", "light", "dark", "light"],
            "site": ["n", "s", "n", "n"],
            "content_hash": ["same", "same", "p", "q"],
        }
    )
    groups = build_groups(table, CLASSES, SEGMENTS, controls={"site": ["n", "s"]})
    sizes = groups.sizes()
    assert sizes["average", "all"] == 3
    assert sizes["class", "boot"] == 1
    assert sizes["segment", "tone=dark"] == sizes["segment", "tone=light"] == 2
    assert sizes["intersection", "boot & tone=light"] == 1
    assert groups.under("site=s").sizes()["class", "boot"] == 1


def test_equal_pixels_of_two_labels_are_one_cluster(samples):
    hashes = [f"{i}" for i in samples["sample_id"]]
    # Sample 3 is a boot, sample 1 a bag in light tones.
    hashes[3] = hashes[1]
    twice = samples.assign(content_hash=hashes)
    groups = build_groups(twice, CLASSES, SEGMENTS)
    assert groups.copies("audit") == 0
    assert set(groups.cluster_sizes) == {("average", "all")}


def test_clusters_that_share_an_image_are_one():
    table = pd.DataFrame(
        {"cluster": ["a", "a", "b", "b", None, None], "content_hash": list("uvvwxx")}
    )
    codes = sample_clusters(table)
    assert len(set(codes[:4])) == 1
    assert codes[4] == codes[5] != codes[0]
    assert len(set(sample_clusters(table[["cluster"]]))) == 4
    assert len(set(sample_clusters(table[[]]))) == 6


def clustered(sizes, **columns):
    """Samples of clusters of these sizes."""
    cluster = np.repeat(np.arange(len(sizes)), sizes)
    table = {"sample_id": np.arange(cluster.size), "split": "audit", "label": 0, "tone": "dark"}
    return pd.DataFrame({**table, "cluster": cluster, **columns})


@pytest.mark.parametrize(
    ("sizes", "kept"),
    [
        ([10] + [1] * 790, [1] * 791),
        ([10] * 3 + [2] * 30 + [1] * 710, [2] * 33 + [1] * 710),
        ([4] * 200, [4] * 200),
        ([60] + [1] * 100, [52] + [1] * 100),
        ([19, 1], [18, 1]),
    ],
)
def test_no_cluster_counts_with_more_images_than_the_smallest_cap(sizes, kept):
    samples = clustered(sizes)
    groups = build_groups(samples, ("one",), {})
    (found,) = {
        tuple(sorted(own)) for own in sizes_of_clusters(groups.every_cluster_codes).values()
    }
    assert found == tuple(sorted(kept))
    left = sum(sizes) - sum(kept)
    assert left <= 0.05 * sum(sizes)
    assert groups.left_out() == (dict.fromkeys(groups.sizes(), left) if left else {})
    # One less would leave out more than a twentieth.
    less = sum(min(size, max(kept) - 1) for size in sizes)
    assert max(kept) == 1 or sum(sizes) - less > 0.05 * sum(sizes)


def test_which_images_of_a_cluster_count_depends_on_nothing_but_their_numbers():
    samples = clustered([30, 20] + [1] * 500)
    groups = build_groups(samples, ("one",), {})
    inside = groups.partitions[0].codes >= 0
    own = inside[:30].tolist(), inside[30:50].tolist()
    assert sum(own[0]) == sum(own[1]) == 12
    # Not those that came first.
    assert not all(own[0][:12]) and not all(own[1][:12])
    mixed = build_groups(samples.sample(frac=1, random_state=1), ("one",), {})
    assert (mixed.partitions[0].codes >= 0).tolist() == inside.tolist()
    other = samples.assign(split=np.where(samples["sample_id"] < 20, "selection", "audit"))
    audit = build_groups(other, ("one",), {}).only("audit")
    assert set(audit.sample_ids) == set(range(20, 550))


def test_a_condition_counts_no_image_that_its_group_leaves_out():
    copies = clustered([10] + [1] * 790).assign(content_hash=[str(n // 2) for n in range(800)])
    audit = copies.assign(site=["north" if n % 2 else "south" for n in range(800)])
    groups = build_groups(audit, ("one",), {}, controls={"site": ("north", "south")})
    inside = groups.partitions[0].codes >= 0
    assert inside.sum() == 396 and not groups.cluster_sizes
    for condition in groups.conditions:
        seen = groups.under(condition)
        counted = np.flatnonzero(seen.partitions[0].codes >= 0)
        assert np.unique(seen.clusters[counted]).size == counted.size
        assert not seen.cluster_sizes


def test_classes_and_segments_without_an_image_have_size_0(samples):
    sizes = build_groups(samples, (*CLASSES, "hat"), {"tone": (*SEGMENTS["tone"], "x")}).sizes()
    assert sizes["class", "hat"] == sizes["segment", "tone=x"] == 0


def test_samples_are_in_order_of_their_ids(samples):
    groups = build_groups(samples, CLASSES, SEGMENTS)
    assert np.all(np.diff(groups.sample_ids) > 0)
    assert groups.labels[groups.sample_ids == 3] == 0


@pytest.fixture
def shop():
    rng = np.random.default_rng(0)
    columns = {"tone": ["dark", "light"], "size": ["big", "small"], "site": ["north", "south"]}
    table = pd.DataFrame({name: rng.choice(values, 400) for name, values in columns.items()})
    table = table.assign(sample_id=np.arange(400), label=rng.integers(0, 2, 400), split="audit")
    table.loc[::9, "size"] = "missing"
    return table, columns


@pytest.mark.parametrize(("depth", "segments"), [(2, 1), (3, 2), (4, 3)])
def test_intersections_up_to_a_depth_count_as_a_plain_query_does(shop, depth, segments):
    table, columns = shop
    groups = build_groups(table, CLASSES, columns, intersection_depth=depth)
    counts = groups.counts().query("level == 'intersection'")
    table = table.assign(boot=np.asarray(CLASSES)[table["label"]])
    deepest = 0
    for group, n in counts[["group", "n"]].itertuples(index=False):
        parts = [part.split("=") if "=" in part else ("boot", part) for part in group.split(" & ")]
        member = np.logical_and.reduce([table[column] == value for column, value in parts])
        assert n == member.sum()
        deepest = max(deepest, len(parts))
    assert deepest == segments + 1
    expected = {2: 2 * 6, 3: 2 * 6 + 12 * 3, 4: 2 * 6 + 12 * 3 + 8 * 3}[depth]
    assert len(counts) == expected
    assert len(set(counts["group"])) == expected


def test_deep_intersections_keep_their_least_size(shop):
    table, columns = shop
    counts = build_groups(
        table, CLASSES, columns, intersection_depth=4, intersection_min_size=40
    ).counts()
    assert counts.query("level == 'intersection'")["n"].min() >= 40


def test_control_columns_are_conditions_and_no_groups(shop):
    table, columns = shop
    controls = {"site": columns.pop("site")}
    groups = build_groups(table, CLASSES, columns, controls=controls)
    assert list(groups.conditions) == ["site=north", "site=south"]
    assert not any("site=" in group for names in groups.by_level().values() for group in names)
    north = groups.under("site=north").counts().set_index("group")["n"]
    rows = table[table["site"] == "north"]
    assert north["all"] == len(rows)
    assert north["bag"] == (rows["label"] == 1).sum()
    assert north["bag & tone=dark"] == ((rows["label"] == 1) & (rows["tone"] == "dark")).sum()


def test_thousands_of_classes_make_no_more_groups_than_samples_in_a_second():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"sample_id": np.arange(30_000), "label": np.arange(30_000) % 3000})
    table = table.assign(split=np.where(table.index % 2, "audit", "selection"))
    table["site"] = rng.choice([f"s{k}" for k in range(50)], len(table))
    sites = {"site": sorted(table["site"].unique())}
    started = time.process_time()
    groups = build_groups(table, [f"class {k}" for k in range(3000)], sites)
    assert time.process_time() - started < 5
    assert len(groups.counts()) < 1 + 3000 + 50 + 15_000
    few = build_groups(
        table, [f"class {k}" for k in range(3000)], sites, intersection_min_size=20
    ).counts()
    assert "intersection" not in set(few["level"])
