import gzip
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError
from safetensors.torch import save_file

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.images.idx import IdxSource
from ptq_pipeline.images.samples import encode_labels
from ptq_pipeline.images.source import content_hashes, content_keys
from ptq_pipeline.models import FloatModel, Preprocessing, load_float_model, resnet20
from ptq_pipeline.pipelines.data_loading import nodes
from ptq_pipeline.pipelines.data_loading.parameters import DataLoadingParameters

CLASSES = tuple("abc")
PARAMETERS = DataLoadingParameters(
    seed=1,
    segments={
        "tone": {
            "feature": "brightness",
            "quantiles": [0.5],
            "names": ["dark", "light"],
        }
    },
)


def write_idx(path, array):
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    path.write_bytes(gzip.compress(header + array.tobytes()))
    return path


@lru_cache
def pixels(count=120):
    generator = np.random.default_rng(0)
    base = generator.integers(0, 256, (count, 1, 1))
    return np.clip(base + generator.normal(0, 30, (count, 12, 12)), 0, 255).astype(np.uint8)


@pytest.fixture
def source(tmp_path):
    labels = np.arange(120, dtype=np.uint8) % 3
    return IdxSource(
        [
            {
                "images": write_idx(tmp_path / "images.gz", pixels()),
                "labels": write_idx(tmp_path / "labels.gz", labels),
                "splits": {"pool": 4, "reference": 3, "selection": 1, "audit": 2},
            }
        ]
    )


@pytest.fixture
def model(tmp_path):
    save_file(resnet20(classes=3).state_dict(), tmp_path / "weights.safetensors")
    return load_float_model(
        "ptq_pipeline.models.resnet20",
        tmp_path / "weights.safetensors",
        Preprocessing((0.3,), (0.3,)),
        CLASSES,
        {"classes": 3},
    )


def run(source, model, parameters=PARAMETERS):
    images, table, metadata = nodes.decode_images(source, model, parameters)
    raw, projection = nodes.profile_samples(table, images, model, parameters)
    definitions = nodes.define_segments(metadata, raw, model, parameters)
    samples, profiles = nodes.build_samples(table, raw, definitions)
    return images, samples, profiles, definitions.to_json(), projection


def test_tables_hold_what_the_contract_says(source, model):
    images, samples, profiles, definitions, _ = run(source, model)
    assert images.shape == (120, 1, 12, 12)
    assert images.dtype == np.uint8
    assert list(samples) == ["sample_id", "content_hash", "split", "label", "tone"]
    assert samples["split"].value_counts().to_dict() == {
        "pool": 48,
        "reference": 36,
        "audit": 24,
        "selection": 12,
    }
    assert samples["content_hash"].tolist() == content_hashes(images)
    assert {"sample_id", "split", "label", "tone", "brightness", "component_8"} < set(profiles)
    pool = samples[samples["split"] == "pool"]
    assert pool["tone"].value_counts().to_dict() == {"dark": 24, "light": 24}
    assert definitions["classes"] == list(CLASSES)


def test_segments_of_the_source_are_kept_and_missing_values_named(source, model):
    source.table["customer"] = ["x", None] * 60
    _, samples, profiles, definitions, _ = run(source, model)
    assert set(samples["customer"]) == {"x", "missing"}
    assert definitions["segments"]["customer"]["names"] == ["missing", "x"]
    assert "customer" in profiles


def test_a_segment_cannot_have_two_meanings(source, model):
    source.table["tone"] = "x"
    with pytest.raises(InputError, match="segment 'tone'.*rename"):
        run(source, model)


def test_two_classes_of_one_name_and_columns_of_ours_are_refused_before_decoding(source, model):
    twins = replace(model, classes=("a", "b", "a"))
    with pytest.raises(InputError, match="two classes are called 'a'"):
        nodes.decode_images(source, twins, PARAMETERS)
    source.table["sample_id"] = "x"
    with pytest.raises(InputError, match="the image source has a column 'sample_id'"):
        nodes.decode_images(source, model, PARAMETERS)


def test_what_doctor_and_run_check_alike(source, model):
    plain = source.table
    source.table = plain.assign(file=[f"{number}.png" for number in range(len(plain))])
    with pytest.raises(InputError, match="'file' has 120 different texts .* times as 2025-01-31"):
        nodes.check_source(source, model, most_values=8)
    source.table = plain.iloc[:0]
    with pytest.raises(InputError, match="holds no image; check its paths"):
        nodes.check_source(source, model, most_values=8)


def test_images_that_repeat_in_a_split_are_said(source, model, caplog):
    source.table["split"] = ["audit"] * 4 + [None] * 116
    source.read = lambda position: np.full((1, 12, 12), max(position, 3), np.uint8)
    source.table["label"] = [0] * 4 + list(np.arange(116) % 3)
    nodes.decode_images(source, model, PARAMETERS)
    assert "3 image(s) of split audit repeat pixels and label of another" in caplog.text


def test_what_is_left_out_is_counted_in_the_definitions(source, model):
    assert "left_out" not in run(source, model)[3]
    source.left_out = {"hidden": 2}
    assert run(source, model)[3]["left_out"] == {"hidden": 2}


def test_labels_may_be_class_names(source, model):
    expected = source.table["label"].tolist()
    source.table["label"] = [CLASSES[label] for label in expected]
    assert encode_labels(source.table, CLASSES).tolist() == expected


@pytest.mark.parametrize("bad", [3, -1, "zebra", None])
def test_a_label_outside_the_classes_names_the_image(source, bad):
    source.table["label"] = source.table["label"].astype(object)
    if isinstance(bad, str) or bad is None:
        source.table["label"] = [CLASSES[label] for label in source.table["label"]]
    source.table.loc[7, "label"] = bad
    table = source.table.infer_objects()
    said = "has no label" if bad is None else "is outside the model's 3 classes"
    with pytest.raises(InputError, match=rf"images\.gz\[7\]' {said}"):
        encode_labels(table, CLASSES)


def test_the_same_pixels_in_two_splits_are_refused(source, model):
    source.table["split"] = None
    source.table.loc[0, "split"] = "pool"
    source.table.loc[1, "split"] = "audit"
    source._arrays[0] = pixels()[:, None].copy()
    source._arrays[0][1] = source._arrays[0][0]
    with pytest.raises(InputError, match=r"the same pixels in two splits.*\[0\].*\[1\]"):
        nodes.decode_images(source, model, PARAMETERS)


def test_training_images_may_not_be_audited(source, model):
    images, samples, *_ = run(source, model)
    keys = content_keys(samples["content_hash"])
    for split, allowed in [("pool", True), ("audit", False)]:
        known = np.sort(keys[(samples["split"] == split).to_numpy()][:1])
        trained = FloatModel(model.module, model.preprocessing, CLASSES, "f", known)
        if allowed:
            nodes.decode_images(source, trained, PARAMETERS)
        else:
            with pytest.raises(InputError, match="trained the model"):
                nodes.decode_images(source, trained, PARAMETERS)


def test_channels_of_images_and_preprocessing_must_agree(source, model):
    colour = FloatModel(model.module, Preprocessing((0,) * 3, (1,) * 3), CLASSES, "f")
    with pytest.raises(InputError, match=r"1 channel\(s\).*has 3"):
        nodes.decode_images(source, colour, PARAMETERS)


def test_near_chance_accuracy_is_reported(source, model, caplog):
    source.table["label"] = 2
    images, table, _ = nodes.decode_images(source, model, PARAMETERS)
    table["label"] = table["sample_id"] % 3
    caplog.clear()
    nodes.profile_samples(table, images, model, PARAMETERS)
    assert "of chance: check mean, std" in caplog.text


def test_classes_in_the_wrong_order_are_refused(source, model):
    images, table, _ = nodes.decode_images(source, model, PARAMETERS)
    predicted = nodes.profile_samples(table, images, model, PARAMETERS)[0]["predicted"]
    table["label"] = (predicted + 1) % 3
    with pytest.raises(InputError, match="stood in another order: output"):
        nodes.profile_samples(table, images, model, PARAMETERS)


def test_accuracy_far_below_the_expected_one_is_reported(source, model, caplog):
    images, table, _ = nodes.decode_images(source, model, PARAMETERS)
    table["label"] = nodes.profile_samples(table, images, model, PARAMETERS)[0]["predicted"]
    table.loc[:11, "label"] = (table.loc[:11, "label"] + 1) % 3
    caplog.clear()
    for expected, warned in ((None, False), (0.94, False), (0.96, True)):
        parameters = PARAMETERS.model_copy(update={"expected_accuracy": expected})
        nodes.profile_samples(table, images, model, parameters)
        assert ("far below" in caplog.text) == warned


def test_numbers_become_groups_cut_on_the_pool(source, model):
    source.table["age"] = np.arange(120.0)
    source.table["weekend"] = [True, False] * 60
    source.table["stars"] = [1, 2, 3, 4] * 30
    _, samples, _, definitions, _ = run(source, model)
    assert definitions["segments"]["weekend"]["names"] == ["False", "True"]
    assert definitions["segments"]["stars"]["names"] == ["1", "2", "3", "4"]
    pool = samples[samples["split"] == "pool"]
    assert sorted(pool["age"].str[:2].value_counts().to_dict().items()) == [
        ("q1", 16), ("q2", 16), ("q3", 16),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"feature": "colour"},
        {"quantiles": [0.5, 0.4]},
        {"quantiles": [1.5]},
        {"names": ["one"]},
        {"unknown": 1},
    ],
)
def test_bad_segment_parameters_are_refused(change):
    segment = {"feature": "brightness", "quantiles": [0.5], "names": ["a", "b"], **change}
    with pytest.raises(ValidationError):
        DataLoadingParameters(seed=0, segments={"tone": segment})


def test_corrupt_images_are_left_out_with_their_labels(tmp_path, model):
    from PIL import Image

    from ptq_pipeline.images.decoding import Decoding
    from ptq_pipeline.images.files import manifest

    rows = []
    for row, image in enumerate(pixels()[:40]):
        Image.fromarray(image).save(tmp_path / f"{row}.png")
        split = ["pool", "reference", "selection", "audit"][row % 4]
        rows.append({"path": f"{row}.png", "label": row % 3, "split": split})
    (tmp_path / "5.png").write_bytes(b"broken")
    pd.DataFrame(rows).to_csv(tmp_path / "list.csv", index=False)
    source = manifest(tmp_path / "list.csv", Decoding((1, 12, 12)), None)
    with pytest.raises(InputError, match=r"5\.png"):
        nodes.decode_images(source, model, PARAMETERS)
    tolerant = PARAMETERS.model_copy(update={"max_unreadable": 1})
    _, table, found = nodes.decode_images(source, model, tolerant)
    assert found["left_out"] == {"unreadable": 1}
    assert table["label"].tolist() == [row % 3 for row in range(40) if row != 5]


def test_a_layer_that_cannot_be_quantized_is_named_before_decoding(source, model):
    import torch

    class Hidden(torch.nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            hidden = torch.nn.functional.conv_transpose2d(x, torch.ones(1, 1, 1, 1))
            return self.inner(x) + 0 * hidden.mean(dim=(1, 2, 3))[:, None]

    hidden = FloatModel(Hidden(model.module), model.preprocessing, CLASSES, "f")
    source.read = None
    with pytest.raises(InputError, match="conv_transpose2d"):
        nodes.decode_images(source, hidden, PARAMETERS)


def test_control_columns_are_marked_and_must_exist(source, model):
    source.table["site"] = ["south", "north"] * 60
    images, table, metadata = nodes.decode_images(source, model, PARAMETERS)
    profiles = nodes.profile_samples(table, images, model, PARAMETERS)[0]
    controlled = PARAMETERS.model_copy(update={"controls": ("site",)})
    found = nodes.define_segments(metadata, profiles, model, controlled).to_json()["segments"]
    assert found["site"] == {"names": ["north", "south"], "control": True}
    assert not any("control" in entry for name, entry in found.items() if name != "site")
    unknown = PARAMETERS.model_copy(update={"controls": ("camera",)})
    with pytest.raises(InputError, match="no segment column 'camera'; the columns are site"):
        nodes.define_segments(metadata, profiles, model, unknown)
