import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.images.samples import assign_splits, check_splits, encode_labels
from ptq_pipeline.images.source import content_hashes, content_keys

WEIGHTS = {"pool": 5, "reference": 2, "selection": 1, "audit": 2}


def table(count, seed=0):
    generator = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "label": generator.integers(0, 3, count),
            "content_hash": [f"{value:064x}" for value in generator.integers(0, 2**60, count)],
            "part": 0,
        }
    )


def test_classes_are_divided_by_the_weights():
    samples = table(3000)
    splits = assign_splits(samples, [WEIGHTS], seed=1)
    shares = pd.crosstab(samples["label"], splits, normalize="index")
    assert shares["pool"].to_numpy() == pytest.approx(0.5, abs=0.002)
    assert shares["audit"].to_numpy() == pytest.approx(0.2, abs=0.002)


@settings(deadline=None)
@given(st.integers(0, 2**32), st.randoms(use_true_random=False))
def test_the_order_of_rows_plays_no_part(seed, random):
    samples = table(60)
    shuffled = samples.sample(frac=1, random_state=random.randint(0, 2**32 - 1))
    expected = assign_splits(samples, [WEIGHTS], seed)
    pd.testing.assert_series_equal(
        assign_splits(shuffled, [WEIGHTS], seed).sort_index(), expected, check_names=False
    )


def test_clusters_and_equal_pixels_stay_together():
    samples = table(400)
    samples.loc[200:, "content_hash"] = samples.loc[:199, "content_hash"].to_numpy()
    splits = assign_splits(samples, [WEIGHTS], 0)
    assert (splits[:200].to_numpy() == splits[200:].to_numpy()).all()
    samples = table(400).assign(cluster=[row // 7 for row in range(400)])
    samples["split"] = assign_splits(samples, [WEIGHTS], 0)
    assert (samples.groupby("cluster")["split"].nunique() == 1).all()
    check_splits(samples, pd.Series(range(400)))


def test_classes_of_one_image_do_not_all_go_to_one_split():
    samples = table(1200).assign(label=[*range(1000), *[1000] * 200])
    shares = assign_splits(samples, [WEIGHTS], 0)[:1000].value_counts(normalize=True)
    assert shares["pool"] == pytest.approx(0.5) and shares["selection"] == pytest.approx(0.1)


def test_a_given_split_is_kept():
    samples = table(50).assign(split=["audit"] * 10 + [None] * 40)
    splits = assign_splits(samples, [{"pool": 1}], 0)
    assert list(splits) == ["audit"] * 10 + ["pool"] * 40


def test_rows_without_split_and_weights_are_refused():
    with pytest.raises(InputError, match="10 rows without a split"):
        assign_splits(table(10), [{}], 0)


@pytest.mark.parametrize(
    ("name", "hint"),
    [("Audit", "write 'audit', or choose"), (" pool", "write 'pool'"), ("test", "")],
)
def test_a_split_that_nothing_uses_is_refused(name, hint):
    samples = table(50).assign(split=[name] * 10 + ["audit"] * 40)
    with pytest.raises(InputError, match=f"the 'split' column names '{name}', and .*{hint}"):
        assign_splits(samples, [WEIGHTS], 0)
    with pytest.raises(InputError, match=f"'splits' of the image source names '{name}'"):
        assign_splits(table(50), [WEIGHTS | {name: 1}], 0)


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), -1, "4", None])
def test_weights_that_divide_nothing_are_refused(weight):
    with pytest.raises(InputError, match="no weights to divide them by"):
        assign_splits(table(10), [{"pool": 1, "audit": weight}], 0)


def test_a_missing_split_is_named():
    with pytest.raises(InputError, match="split\\(s\\) reference, selection"):
        check_splits(table(4).assign(split=["pool", "audit"] * 2), pd.Series(list("abcd")))


@pytest.mark.parametrize("column", ["content_hash", "cluster"])
def test_leakage_between_splits_names_both_images(column):
    samples = table(8).assign(split=["pool", "reference", "selection", "audit"] * 2)
    samples["cluster"] = [f"user {row}" for row in range(8)]
    samples.loc[7, column] = samples.loc[0, column]
    with pytest.raises(InputError, match="'a' \\(pool\\) and 'h' \\(audit\\)"):
        check_splits(samples, pd.Series(list("abcdefgh")))


def test_content_keys_are_the_first_bytes_of_the_hash():
    images = np.arange(24, dtype=np.uint8).reshape(2, 1, 3, 4)
    hashes = content_hashes(images)
    assert [f"{int(key):016x}" for key in content_keys(hashes)] == [h[:16] for h in hashes]
    assert content_hashes(images[:, :, ::-1][:, :, ::-1]) == hashes


def encode(labels, classes):
    names = [f"image {row}" for row in range(len(labels))]
    return encode_labels(pd.DataFrame({"label": labels, "name": names}), tuple(classes)).tolist()


def test_texts_are_names_and_whole_numbers_are_indices():
    assert encode(["b", "a"], "ab") == [1, 0]
    assert encode([1, 0, 1], "ab") == encode([1.0, 0.0, 1.0], "ab") == [1, 0, 1]
    assert encode(np.array([1, 0], np.uint8), "ab") == [1, 0]
    assert encode(["0", "1"], "01") == encode([0, 1], "01") == [0, 1]
    assert encode([True, False], ["False", "True"]) == [1, 0]


def test_numbers_are_names_where_they_can_be_nothing_else():
    assert encode([3, 7, 5], "357") == encode([3.0, 7.0, 5.0], "357") == [0, 2, 1]
    # A folder '10' is the class of that name, wherever sorting puts it.
    assert encode(["10", "2"], ["0", "1", "10", "2"]) == [2, 3]
    with pytest.raises(InputError, match="label '2' of 'image 0' is outside"):
        encode(["2"], "abc")


def test_a_number_that_can_mean_two_classes_is_refused():
    with pytest.raises(InputError, match="label 1 can mean class number 1, '0', or"):
        encode([1, 0], ["1", "0"])


def test_the_name_of_two_classes_is_refused_and_their_numbers_are_not():
    classes = ["crane", "x", "crane"]
    assert encode([0, 1, 2], classes) == [0, 1, 2]
    assert encode(["x"], classes) == [1]
    with pytest.raises(InputError, match="'crane' is the name of 2 classes"):
        encode(["x", "crane"], classes)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["Cat", "dog"], r"label 'Cat' of 'image 0' .* \(it has 'cat'\)"),
        (["dog", " cat"], r"\(it has 'cat'\)"),
        ([0, 12], r"label '12' of 'image 1' is outside the model's 3 classes"),
        ([0, 1.5], r"label '1\.5' of 'image 1'"),
        ([0, -1], r"label '-1'"),
        ([0, np.inf], "label 'inf'"),
        (["dog", None], r"'image 1' has no label \(1 such"),
        ([0.0, np.nan], "'image 1' has no label"),
    ],
)
def test_other_labels_are_refused(labels, message):
    with pytest.raises(InputError, match=message):
        encode(labels, ["cat", "dog", "caf\u00e9"])


def test_clusters_that_share_an_image_are_one():
    samples = table(400).assign(cluster=[f"c{row // 4}" for row in range(400)])
    # A chain: each cluster of ten holds an image of the next.
    for row in range(0, 400, 4):
        if row % 40:
            samples.loc[row, "content_hash"] = samples.loc[row - 4, "content_hash"]
    samples.loc[7, "cluster"] = None
    samples.loc[7, "content_hash"] = samples.loc[0, "content_hash"]
    samples["split"] = assign_splits(samples, [WEIGHTS], 0)
    chains = np.arange(400) // 40
    assert (samples.groupby(chains)["split"].nunique() == 1).all()
    check_splits(samples, pd.Series(range(400)))


@pytest.mark.parametrize(
    ("name", "near"), [("train", "pool"), ("Val", "selection"), ("test", "audit")]
)
def test_what_others_call_a_split_is_translated(name, near):
    with pytest.raises(InputError, match=f"names '{name}', and .* write '{near}', or choose"):
        assign_splits(table(4).assign(split=name), [WEIGHTS], 0)


def test_missing_splits_say_what_was_found():
    samples = table(4).assign(split=["pool", "audit", "pool", "audit"])
    with pytest.raises(InputError, match=r"split\(s\) reference, selection, only in audit, pool;"):
        check_splits(samples, pd.Series(range(4)))


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("cat;dog", "names 2 classes .*several labels per image \\(multi-label\\)"),
        ("dog, cat", "names 2 classes"),
        ("None", "a label that is missing is an empty cell"),
        ("1.0", "class numbers are whole numbers: write 1\\)"),
        ("no", "label 'no' of 'image 1' is outside the model's 2 classes"),
    ],
)
def test_a_label_that_cannot_be_meant_is_explained(label, message):
    with pytest.raises(InputError, match=message):
        encode(["cat", label], ("cat", "dog"))


def test_letters_are_the_same_however_they_are_composed():
    composed, apart = "caf\u00e9", "cafe\u0301"
    assert list(encode([composed, apart], (apart, "tea"))) == [0, 0]
